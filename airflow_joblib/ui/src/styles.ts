/** Airflow's look, by the colours that its page defines, with our own where it does not; all below one class. */

export const STYLES = `
.airflow-joblib {
  --aj-bg: var(--chakra-colors-bg, #fff);
  --aj-fg: var(--chakra-colors-fg, #18181b);
  --aj-muted: var(--chakra-colors-fg-muted, #52525b);
  --aj-line: var(--chakra-colors-border, #e4e4e7);
  --aj-subtle: var(--chakra-colors-bg-subtle, #fafafa);
  --aj-track: #e4e7ec;
  --aj-hatch: #cfd4dc;
  --aj-done: #2f9e5b;
  --aj-failed: #d6293e;
  --aj-failed-fg: #b3132b;
  --aj-skipped: #d070b5;
  --aj-earlier: #2b9aa8;
  --aj-running: #4f7df0;
  --aj-start: #e0a030;
  --aj-sending: #9a6bd6;
  --aj-rate: #5f7a8c;
  --aj-link: var(--chakra-colors-fg-info, #1d4ed8);
  --aj-focus: #3b82f6;
  container-type: inline-size;
  color: var(--aj-fg);
  font-size: 14px;
  line-height: 1.45;
  padding: 12px 4px 32px;
}
.dark .airflow-joblib {
  --aj-bg: var(--chakra-colors-bg, #111);
  --aj-fg: var(--chakra-colors-fg, #fafafa);
  --aj-muted: var(--chakra-colors-fg-muted, #a1a1aa);
  --aj-line: var(--chakra-colors-border, #27272a);
  --aj-subtle: var(--chakra-colors-bg-subtle, #18181b);
  --aj-track: #2a2d34;
  --aj-hatch: #41454f;
  --aj-done: #3fae6c;
  --aj-failed: #ef5163;
  --aj-failed-fg: #ff8090;
  --aj-skipped: #cf78b8;
  --aj-earlier: #3aa9b7;
  --aj-running: #6b93f5;
  --aj-start: #d9a03c;
  --aj-sending: #a982dd;
  --aj-rate: #8aa4b5;
  --aj-link: var(--chakra-colors-fg-info, #93c5fd);
}
.airflow-joblib h2 { font-size: 18px; font-weight: 600; margin: 0; }
.airflow-joblib h3 { font-size: 14px; font-weight: 600; margin: 0; }
.airflow-joblib p { margin: 8px 0 0; }
.airflow-joblib code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .95em; }
.airflow-joblib a, .airflow-joblib .aj-link { color: var(--aj-link); text-decoration: underline; text-underline-offset: 2px; }
.airflow-joblib .aj-muted { color: var(--aj-muted); }
.airflow-joblib .aj-hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; margin: 0;
}
.airflow-joblib button, .airflow-joblib select, .airflow-joblib input {
  font: inherit; color: inherit; background: var(--aj-bg); border: 1px solid var(--aj-line); border-radius: 6px; padding: 3px 10px;
}
.airflow-joblib button { cursor: pointer; }
.airflow-joblib button:hover, .airflow-joblib button[aria-pressed="true"] { background: var(--aj-track); }
.airflow-joblib button.aj-link { border: 0; padding: 2px 0; background: none; }
.airflow-joblib :focus-visible { outline: 2px solid var(--aj-focus); outline-offset: 2px; }
.airflow-joblib .aj-notice { max-width: 640px; padding: 24px 8px; }
.airflow-joblib .aj-notice button { margin-top: 12px; }
.airflow-joblib .aj-notice p { overflow-wrap: anywhere; }
.airflow-joblib .aj-notice p a { white-space: nowrap; }
.airflow-joblib .aj-instances { list-style: none; margin: 12px 0 0; padding: 0; }
.airflow-joblib .aj-banner {
  border: 1px solid var(--aj-start); border-radius: 6px; padding: 8px 12px; margin: 0 0 12px; background: var(--aj-subtle);
}
.airflow-joblib .aj-choice { display: flex; gap: 8px; align-items: center; margin-bottom: 12px; flex-wrap: wrap; }
.airflow-joblib .aj-title { display: flex; gap: 10px; align-items: center; flex-wrap: wrap; margin-bottom: 10px; }
.airflow-joblib .aj-state {
  border-radius: 999px; padding: 1px 10px; font-size: 12px; font-weight: 600; color: #fff; background: #3b63d8;
}
.airflow-joblib .aj-state-success { background: #1f7a45; }
.airflow-joblib .aj-state-failed { background: #c01f35; }
.airflow-joblib .aj-state-cut-short { background: #8a5a00; }
.airflow-joblib .aj-progress { display: flex; gap: 12px; align-items: center; }
.airflow-joblib .aj-percent { min-width: 4ch; text-align: right; font-weight: 600; font-variant-numeric: tabular-nums; }
.airflow-joblib .aj-bar { display: flex; flex: 1; height: 14px; border-radius: 7px; overflow: hidden; background: var(--aj-track); }
.airflow-joblib .aj-bar > span { transition: width .4s; }
.airflow-joblib .aj-figures { display: flex; flex-wrap: wrap; gap: 4px 32px; margin: 12px 0 16px; }
.airflow-joblib .aj-figure dt { color: var(--aj-muted); font-size: 12px; }
.airflow-joblib .aj-figure dd { margin: 0; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }
.airflow-joblib .aj-figure-failed dd { color: var(--aj-failed-fg); }
.airflow-joblib .aj-grid { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 12px; }
.airflow-joblib .aj-section { border: 1px solid var(--aj-line); border-radius: 8px; padding: 12px 14px; min-width: 0; }
.airflow-joblib .aj-wide { grid-column: 1 / -1; }
.airflow-joblib .aj-section > header {
  display: flex; gap: 4px 12px; align-items: center; justify-content: space-between; flex-wrap: wrap; margin-bottom: 10px;
}
.airflow-joblib .aj-aside { font-size: 12px; }
.airflow-joblib .aj-legend { display: flex; gap: 14px; list-style: none; margin: 0; padding: 0; color: var(--aj-muted); }
.airflow-joblib i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; margin-right: 2px; }
.airflow-joblib .aj-fill-done { background: var(--aj-done); }
.airflow-joblib .aj-fill-failed { background: var(--aj-failed); }
.airflow-joblib .aj-fill-skipped { background: var(--aj-skipped); }
.airflow-joblib .aj-fill-earlier { background: var(--aj-earlier); }
.airflow-joblib .aj-time-start { background: var(--aj-start); }
.airflow-joblib .aj-time-running { background: var(--aj-done); }
.airflow-joblib .aj-time-sending { background: var(--aj-sending); }
.airflow-joblib .aj-time-rate { background: var(--aj-rate); }
.airflow-joblib .aj-time-end { background: var(--aj-hatch); }
.airflow-joblib .aj-idle {
  background: repeating-linear-gradient(135deg, var(--aj-track) 0 4px, var(--aj-hatch) 4px 5px);
}
.airflow-joblib .aj-timeline { position: relative; border-radius: 4px; --aj-left: 40px; --aj-right: 52px; }
.airflow-joblib .aj-many .aj-lanes { max-height: 420px; overflow-y: auto; }
.airflow-joblib .aj-lane { display: flex; align-items: center; height: 28px; }
.airflow-joblib .aj-many .aj-lane { height: 16px; }
.airflow-joblib .aj-lane-name { width: var(--aj-left); padding-right: 10px; text-align: right; color: var(--aj-muted); font-size: 12px; box-sizing: border-box; }
.airflow-joblib .aj-lane-busy { width: var(--aj-right); text-align: right; color: var(--aj-muted); font-size: 12px; font-variant-numeric: tabular-nums; box-sizing: border-box; }
.airflow-joblib .aj-lane > svg { flex: 1; min-width: 0; height: 22px; border-radius: 3px; overflow: hidden; display: block; }
.airflow-joblib .aj-many .aj-lane > svg { height: 12px; }
.airflow-joblib .aj-span { fill: var(--aj-done); stroke: var(--aj-bg); stroke-width: .5px; }
.airflow-joblib .aj-span-failed { fill: var(--aj-failed); }
.airflow-joblib .aj-flag path { fill: var(--aj-fg); stroke: var(--aj-bg); stroke-width: 1px; }
.airflow-joblib .aj-marked { fill: none; stroke: var(--aj-fg); stroke-width: 2px; pointer-events: none; }
.airflow-joblib .aj-axis {
  position: relative; height: 20px; margin: 3px var(--aj-right) 0 var(--aj-left); border-top: 1px solid var(--aj-line);
  color: var(--aj-muted); font-size: 12px;
}
.airflow-joblib .aj-axis span { position: absolute; transform: translateX(-50%); white-space: nowrap; padding-top: 3px; }
.airflow-joblib .aj-axis span::before {
  content: ""; position: absolute; left: 50%; top: -1px; height: 4px; border-left: 1px solid var(--aj-muted);
}
.airflow-joblib .aj-tip-place { position: absolute; left: var(--aj-left); right: var(--aj-right); bottom: -6px; height: 0; pointer-events: none; z-index: 5; }
.airflow-joblib .aj-tip {
  position: absolute; top: 0; display: flex; flex-direction: column; max-width: 360px; padding: 6px 10px; border-radius: 6px;
  background: var(--aj-fg); color: var(--aj-bg); font-size: 12px; box-shadow: 0 2px 8px rgb(0 0 0 / 25%); overflow-wrap: anywhere;
}
.airflow-joblib details { margin-top: 8px; }
.airflow-joblib summary { cursor: pointer; color: var(--aj-muted); font-size: 12px; width: fit-content; }
.airflow-joblib table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.airflow-joblib th { text-align: left; font-weight: 500; }
.airflow-joblib thead th { color: var(--aj-muted); font-size: 12px; }
.airflow-joblib th, .airflow-joblib td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--aj-line); vertical-align: top; }
.airflow-joblib tbody tr:last-child > * { border-bottom: 0; }
.airflow-joblib th.aj-number, .airflow-joblib td.aj-number { text-align: right; white-space: nowrap; }
.airflow-joblib td.aj-number { color: inherit; }
.airflow-joblib .aj-time { width: auto; margin-top: 8px; }
.airflow-joblib .aj-time td, .airflow-joblib .aj-time th { border: 0; padding: 2px 16px 2px 0; }
.airflow-joblib .aj-histogram { --aj-left: 0px; --aj-right: 0px; padding: 0 4px; }
.airflow-joblib .aj-column { fill: var(--aj-running); }
.airflow-joblib .aj-edges span { transform: none; }
.airflow-joblib .aj-edges span::before { left: 0; }
.airflow-joblib .aj-slowest { table-layout: fixed; }
.airflow-joblib .aj-slowest th:first-child { width: 64px; }
.airflow-joblib .aj-slowest th:last-child { width: 96px; }
.airflow-joblib .aj-slowest th, .airflow-joblib .aj-slowest td { border: 0; padding: 2px 10px 2px 0; }
.airflow-joblib .aj-slowest .aj-label {
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding-left: 8px; border-radius: 4px;
  background: linear-gradient(to right, color-mix(in srgb, var(--aj-running) 30%, transparent) var(--aj-part), transparent 0) padding-box;
  border-block: 1px solid transparent;
}
.airflow-joblib .aj-tools { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 8px; }
.airflow-joblib .aj-tools input { min-width: 260px; }
.airflow-joblib .aj-types { display: flex; gap: 6px; flex-wrap: wrap; }
.airflow-joblib .aj-types button { border-radius: 999px; font-size: 12px; }
.airflow-joblib .aj-files { display: flex; gap: 6px; align-items: center; }
.airflow-joblib .aj-scroll { max-height: 303px; overflow: auto; }
.airflow-joblib .aj-failures thead th { position: sticky; top: 0; background: var(--aj-bg); z-index: 1; }
.airflow-joblib .aj-text { overflow-wrap: anywhere; min-width: 12ch; white-space: pre-wrap; }
@container (max-width: 760px) {
  .airflow-joblib .aj-grid { grid-template-columns: minmax(0, 1fr); }
}
@media (prefers-reduced-motion: reduce) {
  .airflow-joblib .aj-bar > span { transition: none; }
}
`;
