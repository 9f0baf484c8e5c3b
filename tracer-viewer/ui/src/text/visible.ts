/**
 * Text from traffic, such that nothing of it is hidden: control characters become their pictures (␀ … ␟, ␡), and
 * characters that change the order or cannot be seen become `\u{202e}`.
 */
export function visible(text: string): string {
  return UNSEEN.test(text) ? text.replace(EVERY_UNSEEN, picture) : text;
}

/** C0, DEL, C1, soft hyphen, bidi marks and embeddings, zero-width, invisible operators, byte order mark, tags, lone surrogates. */
const CLASS =
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u115f\\u1160\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}\\p{Cs}]";
const UNSEEN = new RegExp(CLASS, "u");
const EVERY_UNSEEN = new RegExp(CLASS, "gu");

function picture(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `\\u{${code.toString(16)}}`;
}

/** The first `limit` characters, never half of one, and whether that is not all. */
export function cut(text: string, limit: number): { text: string; isCut: boolean } {
  if (text.length <= limit) return { text, isCut: false };
  const last = text.charCodeAt(limit - 1);
  const isHalf = last >= 0xd800 && last <= 0xdbff;
  return { text: text.slice(0, isHalf ? limit - 1 : limit), isCut: true };
}

/** Shown text of at most `limit` characters, with `…` if it was longer. */
export function short(text: string, limit: number): string {
  const { text: part, isCut } = cut(text, limit);
  return visible(part) + (isCut ? "…" : "");
}
