/** Uploads that a reload, a crash or a closed tab interrupted: found again, gone on with, or thrown away. */

import { Problem } from './api.js';
import { differenceOf, forget, isHeld, recordsOf } from './upload-records.js';

const WAITING = new Set(['pending', 'expired']);

export class Resumer {
  #api;
  #store;
  #uploader;
  #owner;

  constructor({ api, store, uploader, owner }) {
    this.#api = api;
    this.#store = store;
    this.#uploader = uploader;
    this.#owner = owner;
  }

  get items() { return this.#store.items.filter((item) => item.upload?.phase === 'interrupted'); }

  /** Looks what this browser remembers of the present owner, and what the service has of it. */
  async look() {
    this.items.forEach((item) => this.#store.remove(item));
    const records = await recordsOf(this.#owner());
    await Promise.all(records.map((record) => this.#find(record)));
  }

  /** Goes on with those of `files` whose upload was interrupted; returns the others. */
  async takeBack(files) {
    const others = new Map();
    for (const [file, handle] of files) {
      const item = await this.#itemOf(file);
      if (item) this.#uploader.resume(item, file);
      else others.set(file, handle);
    }
    return others;
  }

  /** Goes on with `item` if `file` is the one it was; raises `Problem` when it is another. */
  async goOn(item, file) {
    const { record, ended } = item.upload;
    if (ended) {
      this.#uploader.add([[file, null]]);
      await this.discard(item);
      return;
    }
    const difference = await differenceOf(file, record);
    if (difference) throw new Problem(409, { code: `other_${difference}`, file, record });
    this.#uploader.resume(item, file);
  }

  /** The file itself, where the browser gave a handle and its reader still agrees; else null. From a click only. */
  async fileAtHand({ upload: { record } }) {
    try {
      if (!record.handle || await record.handle.requestPermission({ mode: 'read' }) !== 'granted') return null;
      return await record.handle.getFile();
    } catch (error) {
      if (error.name === 'NotFoundError') return null; // Moved or renamed meanwhile: it is asked for.
      throw error;
    }
  }

  /** Removes what has arrived, and the asset with it. */
  async discard(item) {
    const { record } = item.upload;
    await this.#api.remove(record.asset_id);
    await forget(record.asset_id);
    this.#store.remove(item);
  }

  async #itemOf(file) {
    for (const item of this.items) if (!item.upload.ended && !await differenceOf(file, item.upload.record)) return item;
    return null;
  }

  async #find(record) {
    if (await isHeld(record.asset_id)) return; // Another tab is at it.
    try {
      const { parts } = await this.#api.parts(record.asset_id);
      this.#show(record, parts.reduce((sum, part) => sum + part.size, 0));
    } catch (problem) {
      if (problem.status === 404) await forget(record.asset_id);
      else if (problem.code === 'upload_ended') await this.#ended(record);
      else this.#show(record, record.sent); // What was last known, until the service can be asked.
    }
  }

  /** Put together after all, its answer lost; or swept by the storage. */
  async #ended(record) {
    const asset = await this.#api.asset(record.asset_id);
    if (WAITING.has(asset.status)) this.#show(record, 0, true);
    else await forget(record.asset_id);
  }

  #show(record, sent, ended = false) {
    this.#store.addInterrupted(record, { file: null, phase: 'interrupted', sent, total: record.size, error: null, record, ended });
  }
}
