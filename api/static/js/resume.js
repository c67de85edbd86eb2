/** Uploads that a reload, a crash or a closed tab interrupted: finds, resumes or discards them. */

import { Problem } from './api.js';
import { NOT_ARRIVED } from './store.js';
import { deleteRecord, findDifference, isLocked, listRecords } from './upload-records.js';

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

  /** Load the present user's records from this browser, and their state from the service. */
  async load() {
    this.items.forEach((item) => this.#store.remove(item));
    const records = await listRecords(this.#owner());
    await Promise.all(records.map((record) => this.#restore(record)));
  }

  /** Resume the interrupted uploads among `files`. Return the other files. */
  async resumeMatching(files) {
    const others = new Map();
    for (const [file, handle] of files) {
      const item = await this.#findItem(file);
      if (item) this.#uploader.resume(item, file);
      else others.set(file, handle);
    }
    return others;
  }

  /** Resume `item` with `file`, or start over when its parts are gone. Throw `Problem` if it is another file. */
  async resume(item, file) {
    const { record, ended } = item.upload;
    if (ended) {
      this.#uploader.add([[file, null]]);
      await this.discard(item);
      return;
    }
    const difference = await findDifference(file, record);
    if (difference) throw new Problem(409, { code: `other_${difference}`, file, record });
    this.#uploader.resume(item, file);
  }

  /** Open the file through its stored handle. Return null without a handle or permission. Call it from a click only. */
  async openStoredFile({ upload: { record } }) {
    try {
      if (!record.handle || await record.handle.requestPermission({ mode: 'read' }) !== 'granted') return null;
      return await record.handle.getFile();
    } catch (error) {
      if (error.name === 'NotFoundError') return null; // Moved or renamed meanwhile: the user chooses it.
      throw error;
    }
  }

  /** Delete the asset, its stored parts and the record. */
  async discard(item) {
    const { record } = item.upload;
    await this.#api.remove(record.asset_id);
    await deleteRecord(record.asset_id);
    this.#store.remove(item);
  }

  async #findItem(file) {
    for (const item of this.items) if (!item.upload.ended && !await findDifference(file, item.upload.record)) return item;
    return null;
  }

  async #restore(record) {
    if (await isLocked(record.asset_id)) return; // Another tab sends it.
    try {
      const { parts } = await this.#api.parts(record.asset_id);
      this.#show(record, parts.reduce((sum, part) => sum + part.size, 0));
    } catch (problem) {
      if (problem.status === 404) await deleteRecord(record.asset_id);
      else if (problem.code === 'upload_ended') await this.#restoreEnded(record);
      else this.#show(record, record.sent); // The last known progress, until the service can be reached.
    }
  }

  /** Handle a multipart upload that is gone: it was completed although the response was lost, or the storage dropped its parts. */
  async #restoreEnded(record) {
    const asset = await this.#api.asset(record.asset_id);
    if (NOT_ARRIVED.has(asset.status)) this.#show(record, 0, true);
    else await deleteRecord(record.asset_id);
  }

  #show(record, sent, ended = false) {
    this.#store.addInterrupted(record, { file: null, phase: 'interrupted', sent, total: record.size, error: null, record, ended });
  }
}
