/** What tables have in common: their head, and the frame of those that repeat a chart in figures. */

import * as React from "react";

interface HeadProps {
  readonly titles: readonly string[];
  /** Those of the titles whose columns are numbers, to the right. */
  readonly numbers?: readonly string[];
}

export function Head({ titles, numbers = [] }: HeadProps): React.JSX.Element {
  return (
    <thead>
      <tr>
        {titles.map((title) => (
          <th className={numbers.includes(title) ? "aj-number" : undefined} key={title} scope="col">
            {title}
          </th>
        ))}
      </tr>
    </thead>
  );
}

interface AsTableProps {
  readonly caption: string;
  readonly titles: readonly string[];
  readonly children: React.ReactNode;
}

export function AsTable({ caption, titles, children }: AsTableProps): React.JSX.Element {
  return (
    <details>
      <summary>As a table</summary>
      <table>
        <caption className="aj-hidden">{caption}</caption>
        <Head titles={titles} />
        <tbody>{children}</tbody>
      </table>
    </details>
  );
}
