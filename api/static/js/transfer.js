/** The files that are sent in one go, and how far they are altogether. It begins anew when all of them are done. */

import { mayHelpToRetry } from './retry.js';

export class Transfer {
  #sizes = new Map();
  /** The place of the row in the gallery: when its first file was added, in milliseconds. */
  since = 0;

  /** Add an item. `isFirst` forgets the files of before. */
  add(item, isFirst) {
    if (isFirst) { this.#sizes.clear(); this.since = item.since; }
    this.#sizes.set(item, item.upload.file.size);
  }

  delete(item) { this.#sizes.delete(item); }

  /** The items that were not sent, and may be another time. */
  get failed() { return [...this.#sizes.keys()].filter(({ upload }) => upload?.error && mayHelpToRetry(upload.error)); }

  /** Count the files and the bytes: `{files, done, failed, bytes, sent}`. Files that failed count in `failed` alone. */
  count() {
    const totals = { files: 0, done: 0, failed: 0, bytes: 0, sent: 0 };
    for (const [{ upload }, size] of this.#sizes) {
      if (upload?.error) { totals.failed += 1; continue; }
      totals.files += 1;
      totals.bytes += size;
      totals.done += upload && upload.phase !== 'arrived' ? 0 : 1;
      totals.sent += upload ? Math.min(upload.sent, size) : size;
    }
    return totals;
  }
}
