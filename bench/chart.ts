// Bars as SVG, by hand: a row for each contestant with its median, a line over it for the range of the rounds, and an axis
// from zero. Small, without a script, readable on a light and on a dark page.

export interface Row {
  label: string;
  values: number[];
  /** Drawn in the colour of what the chart is about. */
  isOurs: boolean;
}

const WIDTH = 720;
const LEFT = 190;
const RIGHT = 120;
const TOP = 42;
const ROW = 28;
const OURS = '#2563eb';
const OTHER = '#94a3b8';
const INK = '#1e293b';

/** The next of 1, 2, 2.5, 5, 10 ... that is not below `value`. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5].find((step) => step * power >= value) ?? 10) * power;
}

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
const at = (value: number) => String(Number(value.toFixed(1)));

/** `middle` is what the length of a row stands for, `show` how a value is written. */
export function drawChart(
  title: string,
  rows: Row[],
  middle: (values: number[]) => number,
  show: (value: number) => string,
): string {
  const highest = Math.max(...rows.flatMap(({ values }) => values));
  const tick = roundUp(Math.max(highest, Number.MIN_VALUE) / 4);
  const end = tick * Math.ceil(highest / tick || 1);
  const x = (value: number) => at(LEFT + (value / end) * (WIDTH - LEFT - RIGHT));
  const bottom = TOP + rows.length * ROW;
  const text = (left: string | number, top: number, anchor: string, content: string) =>
    `<text x="${left}" y="${top}" text-anchor="${anchor}">${escaped(content)}</text>`;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 26}" font-family="sans-serif" font-size="13" fill="${INK}">`,
    `<rect width="${WIDTH}" height="${bottom + 26}" fill="#fff"/>`,
    `<text x="12" y="24" font-weight="bold">${escaped(title)}</text>`,
  ];
  for (let step = 0; step * tick <= end * 1.001; step++) {
    const place = x(step * tick);
    lines.push(`<path d="M${place} ${TOP - 4}V${bottom}" stroke="#e2e8f0"/>`);
    lines.push(text(place, bottom + 16, 'middle', show(step * tick)));
  }
  for (const [index, { label, values, isOurs }] of rows.entries()) {
    const top = TOP + index * ROW;
    lines.push(text(LEFT - 8, top + 17, 'end', label));
    if (values.length === 0) {
      lines.push(text(LEFT + 6, top + 17, 'start', 'no round counts'));
      continue;
    }
    const value = middle(values);
    const [low, high] = [x(Math.min(...values)), x(Math.max(...values))];
    const width = at(Number(x(value)) - LEFT);
    lines.push(
      `<rect x="${LEFT}" y="${top + 4}" width="${width}" height="18" fill="${isOurs ? OURS : OTHER}"/>`,
    );
    if (values.length > 1) {
      const whisker = `M${low} ${top + 13}H${high}M${low} ${top + 9}V${top + 17}M${high} ${top + 9}V${top + 17}`;
      lines.push(`<path d="${whisker}" stroke="${INK}"/>`);
    }
    lines.push(text(at(Number(high) + 8), top + 17, 'start', show(value)));
  }
  return `${[...lines, '</svg>'].join('\n')}\n`;
}
