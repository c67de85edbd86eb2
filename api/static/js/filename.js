/** The name under which a file is announced: what the API would make of it, so that both show the same. */

/** Characters; the API's own limit (`FILENAME_LIMIT` in `api/schemas.py`). */
const LONGEST = 255;
/** Longer than any suffix that means something. */
const LONGEST_SUFFIX = 20;
/** Zero-width joiners stay: they hold emoji and words of some scripts together. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu;
/** Letters by category, yet blank: the fillers of Hangul and the empty Braille pattern. */
const VISIBLE = /(?![\u115f\u1160\u2800\u3164\uffa0])[\p{L}\p{N}\p{P}\p{S}]/u;

/** The name without what cannot be shown, and short enough; its suffix stays. */
export function filenameOf({ name }) {
  const characters = [...name.replace(UNPRINTABLE, '').trim()]; // Code points, as the API counts them.
  if (characters.length <= LONGEST) return characters.join('');
  const dot = characters.lastIndexOf('.');
  const suffix = dot >= characters.length - LONGEST_SUFFIX && dot > 0 ? characters.slice(dot) : [];
  return [...characters.slice(0, LONGEST - suffix.length), ...suffix].join('');
}

/** Whether anything of a name can be seen. */
export function isVisible(name) { return VISIBLE.test(name); }
