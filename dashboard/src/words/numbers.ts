/** Numbers as people read them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const upTo = (digits: number) => new Intl.NumberFormat("en", { maximumFractionDigits: digits });
const [one, two] = [upTo(1), upTo(2)];

/** 12,345; 12.3; 0.12: three digits tell enough. */
export function number(value: number): string {
  const size = Math.abs(value);
  return (size >= 100 ? whole : size >= 10 ? one : two).format(value);
}

/** A probability: whole percents, except near 0 and 1, where they would claim certainty. */
export function percent(probability: number): string {
  if (probability < 0.001) return "<0.1%";
  if (probability > 0.999) return ">99.9%";
  const near = probability < 0.0995 || probability > 0.9005;
  return `${(probability * 100).toFixed(near ? 1 : 0)}%`;
}

/** With a sign, for what is added: +1.20, −0.35. */
export function signed(value: number): string {
  const digits = Math.abs(value).toFixed(2);
  return digits === "0.00" ? digits : `${value < 0 ? "−" : "+"}${digits}`;
}

/** 0.0005 s as 0.5 ms. */
export function seconds(value: number): string {
  if (!Number.isFinite(value)) return "longer than 10 s";
  return value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`;
}

export function bytes(value: number): string {
  return value < 2 ** 30 ? `${number(value / 2 ** 20)} MiB` : `${number(value / 2 ** 30)} GiB`;
}

export function count(amount: number, thing: string, things = `${thing}s`): string {
  return `${number(amount)} ${amount === 1 ? thing : things}`;
}
