/** What the service takes: content types and largest sizes, by asset type. */

import { Problem } from './api.js';

/** Usual names of content types, in the order in which they are told. */
const NAMES = {
  image: ['JPEG', 'PNG', 'WebP', 'GIF', 'AVIF', 'HEIC', 'TIFF', 'BMP'],
  video: ['MP4', 'MOV', 'WebM', 'MKV', 'MPEG', 'AVI', '3GP', 'OGG', 'FLV', 'WMV'],
  audio: ['MP3', 'M4A', 'AAC', 'WAV', 'FLAC', 'OGG', 'Opus', 'AMR', 'WMA', 'AIFF', 'CAF'],
  document: ['PDF'],
};
const PLURALS = { image: 'Images', video: 'videos', audio: 'audio', document: 'PDFs' };

export class Limits {
  /** By asset type: `{max_bytes, content_types}`. Empty until they were loaded: then the service itself refuses. */
  #byType = new Map();

  async load(api) {
    const { items } = await api.limits();
    this.#byType = new Map(items.map((item) => [item.asset_type, item]));
  }

  /** Throw `Problem` if the service would refuse a file that is announced so. */
  check(file, assetType, contentType) {
    const limit = this.#byType.get(assetType);
    if (!limit) return;
    if (!limit.content_types.includes(contentType)) throw new Problem(415, { code: 'content_type_not_allowed', file, contentType });
    if (file.size > limit.max_bytes) throw new Problem(413, { code: 'larger_than_allowed', file, limit: limit.max_bytes });
  }

  /** Describe each type: `{title, size, formats}`. */
  describe() {
    return [...this.#byType].map(([type, { max_bytes: bytes }]) => ({
      title: PLURALS[type], size: roundDown(bytes), formats: NAMES[type].join(', '),
    }));
  }
}

/** Write a size in whole units, rounded down: what is told must be taken. */
function roundDown(bytes) {
  const [unit, name] = bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${Math.floor(bytes / unit)} ${name}`;
}
