import * as React from "react";

interface Props {
  readonly title: string;
  readonly aside?: React.ReactNode;
  readonly wide?: boolean;
  readonly children: React.ReactNode;
}

export function Section({ title, aside, wide = false, children }: Props): React.JSX.Element {
  const id = React.useId();
  return (
    <section aria-labelledby={id} className={wide ? "aj-section aj-wide" : "aj-section"}>
      <header>
        <h3 id={id}>{title}</h3>
        {aside !== undefined && <div className="aj-aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}
