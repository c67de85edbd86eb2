/** Whether a file in a film's container holds sound alone: a voice memo, or what a browser recorded of a microphone. */

const BOXES = new Set(['video/mp4', 'video/quicktime', 'video/3gpp', 'video/x-m4v']);
const MATROSKA = new Set(['video/webm', 'video/x-matroska']);
/** Bytes of an index or of a beginning that are read at most, and boxes that are looked at. */
const MOST_BYTES = 4 * 1024 * 1024;
const MOST_BOXES = 64;

/** Return whether `file` has sound and no picture. False where that cannot be told: the service looks again. */
export async function isSoundOnly(file, contentType) {
  try {
    if (BOXES.has(contentType)) return has(await readIndex(file), /hdlr[^]{8}soun/, /hdlr[^]{8}vide/);
    if (MATROSKA.has(contentType)) return has(await read(file, 0, 64 * 1024), /A_[A-Z]{3}/, /V_[A-Z]{2}/);
  } catch (error) {
    console.warn('the file cannot be looked into', error);
  }
  return false;
}

const has = (text, sound, picture) => sound.test(text) && !picture.test(text);

/** Return the bytes of a part as a string of one character each. */
async function read(file, start, size) {
  const bytes = await file.slice(start, start + Math.min(size, MOST_BYTES)).arrayBuffer();
  return new TextDecoder('latin1').decode(bytes);
}

/** Return the box `moov` of a file, or '' where it is none of the first boxes or too large. */
async function readIndex(file) {
  for (let at = 0, seen = 0; at < file.size && seen < MOST_BOXES; seen += 1) {
    const head = new DataView(await file.slice(at, at + 16).arrayBuffer());
    const size = head.getUint32(0) === 1 ? Number(head.getBigUint64(8)) : head.getUint32(0) || file.size - at;
    if (head.getUint32(4) === 0x6d6f6f76) return size <= MOST_BYTES ? read(file, at, size) : '';
    if (size < 8) return '';
    at += size;
  }
  return '';
}
