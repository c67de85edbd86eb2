/** The name under which a file is announced, cleaned as the API does, so that both show the same. */

/** Longest name in characters; the same as `FILENAME_LIMIT` in `api/schemas/assets.py`. */
const MAX_LENGTH = 255;
/** Longest suffix in characters that is kept when a name is cut. */
const MAX_SUFFIX = 20;
/** Characters that are removed. Zero-width joiners stay: emoji and some scripts need them. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu;
/** A visible character. The Hangul fillers and the empty Braille pattern are letters by category, but blank. */
const VISIBLE = /(?![\u115f\u1160\u2800\u3164\uffa0])[\p{L}\p{N}\p{P}\p{S}]/u;

/** Return the name without unprintable characters, cut to the longest length. The suffix stays. */
export function filenameOf({ name }) {
  const characters = [...name.replace(UNPRINTABLE, '').trim()]; // Code points, as the API counts them.
  if (characters.length <= MAX_LENGTH) return characters.join('');
  const dot = characters.lastIndexOf('.');
  const suffix = dot >= characters.length - MAX_SUFFIX && dot > 0 ? characters.slice(dot) : [];
  return [...characters.slice(0, MAX_LENGTH - suffix.length), ...suffix].join('');
}

/** Tell whether a name has a visible character. */
export function isVisible(name) { return VISIBLE.test(name); }
