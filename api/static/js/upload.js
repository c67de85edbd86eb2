/** Sends files: small ones in one PUT, large ones in parts that survive a reload. */

import { Problem } from './api.js';
import { assetTypeOf, contentTypeOf } from './filetype.js';
import { filenameOf, isVisible } from './filename.js';
import { alone, forget, keep, note, recordOf } from './upload-records.js';
import { PartSender } from './multipart-upload.js';
import { Lanes, persist } from './retry.js';
import { sendWhole } from './single-put.js';

const FILES_AT_ONCE = 3;
/** Below the six connections that a browser opens to one host, so that no PUT waits unseen in its queue. */
const PUTS_AT_ONCE = 5;
/** Bytes from which a file goes in parts. A single PUT would end at 5 GiB, and starts anew when it breaks. */
const PARTS_FROM = 32 * 1024 * 1024;
const PACE_AFTER_MS = 3000;

export class Uploader {
  #api;
  #store;
  #owner;
  #waiting = [];
  #running = 0;
  #lanes = new Lanes(PUTS_AT_ONCE);

  /** `owner` tells whose uploads these are now. */
  constructor(api, store, owner) {
    this.#api = api;
    this.#store = store;
    this.#owner = owner;
  }

  get busy() { return this.#running + this.#waiting.length > 0; }

  /** Queues the files (a map to promised handles, or a list); returns those that no type fits. */
  add(files) {
    const refused = [];
    for (const [file, handle] of files) {
      const assetType = assetTypeOf(contentTypeOf(file));
      if (assetType) this.#enqueue(Object.assign(this.#store.addUpload(file, assetType), { handle }));
      else refused.push(file);
    }
    return refused;
  }

  /** Goes on with an interrupted upload, `file` being the one of its record. */
  resume(item, file) {
    item.since = Date.now();
    Object.assign(item.upload, { file, phase: 'waiting', error: null });
    this.#enqueue(item);
  }

  /** Sends a file again whose upload broke; in parts, it goes on where it was. */
  retry(item) {
    const { upload } = item;
    if (upload.error?.code === 'upload_ended') this.#startOver(item);
    Object.assign(upload, { phase: 'waiting', sent: upload.record ? upload.sent : 0, error: null });
    this.#enqueue(item);
  }

  /** Stops an upload, started or not, and forgets it. */
  cancel(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
    if (!item.upload) return;
    item.upload.cancelled = true;
    item.upload.control?.abort();
    this.#forget(item.upload);
  }

  #enqueue(item) {
    this.#waiting.push(item);
    this.#store.touch(item);
    this.#next();
  }

  #next() {
    while (this.#running < FILES_AT_ONCE && this.#waiting.length) {
      this.#running += 1;
      this.#run(this.#waiting.shift()).finally(() => { this.#running -= 1; this.#next(); });
    }
  }

  async #run(item) {
    try {
      const asset = await this.#send(item);
      this.#forget(item.upload);
      item.upload = null;
      this.#store.put(asset);
      this.#store.touch(item);
    } catch (error) {
      if (error.code === 'upload_elsewhere') { this.#follow(item); return; }
      this.#fail(item, error);
      // Whoever sent the question for a token away is not asked again for every file in the queue.
      if (error.code === 'signed_out') this.#waiting.splice(0).forEach((other) => this.#fail(other, error));
    }
  }

  #fail(item, error) {
    Object.assign(item.upload, { phase: 'broken', paused: false, error: asProblem(error, item.upload) });
    this.#store.touch(item);
    this.#store.dispatchEvent(new CustomEvent('uploadfailed', { detail: item }));
  }

  /** Another tab sends it: from here on this is an asset like any other, and live events tell of it. */
  #follow(item) {
    item.upload = null;
    this.#store.touch(item);
    this.#store.dispatchEvent(new CustomEvent('uploadelsewhere', { detail: item }));
  }

  async #send(item) {
    if (!isVisible(filenameOf(item.upload.file))) throw new Problem(422, { code: 'name_invisible' });
    const job = this.#job(item);
    if (item.upload.record) return this.#goOn(item, job);
    if (job.file.size <= PARTS_FROM) return sendWhole(this.#api, this.#lanes, job);
    job.phase('asking');
    const plan = await persist(() => this.#api.startParts(job.request, job.key), job);
    job.bound(plan.asset_id);
    await this.#keep(item, job, plan);
    return this.#sendParts(job, plan);
  }

  async #goOn(item, job) {
    job.phase('asking');
    const plan = await persist(() => this.#api.parts(item.upload.record.asset_id), job);
    return this.#sendParts(job, plan);
  }

  #sendParts(job, plan) {
    return alone(plan.asset_id, () => new PartSender(this.#api, this.#lanes, job, plan).send(), () => {
      throw new Problem(409, { code: 'upload_elsewhere' });
    });
  }

  /** Remembers the upload before the first byte leaves. Without a memory the upload only cannot be picked up later. */
  async #keep(item, job, plan) {
    const record = await recordOf(job.file, { plan, owner: this.#owner(), request: job.request, handle: await item.handle ?? null });
    item.upload.record = record;
    await keep(record).catch((error) => console.warn('the upload cannot be remembered', error));
  }

  #forget({ record }) {
    if (record) forget(record.asset_id).catch((error) => console.warn('the upload cannot be forgotten', error));
  }

  /** An upload that has ended cannot be gone on with: its asset is given up for a new one. */
  #startOver(item) {
    const { record } = item.upload;
    this.#forget(item.upload);
    Object.assign(item.upload, { record: null, key: crypto.randomUUID() });
    if (record) this.#api.remove(record.asset_id).catch((error) => console.warn('left to expire', record.asset_id, error));
  }

  /** What the senders need to know of an upload, and whom they tell. */
  #job(item) {
    const { upload } = item;
    const { file } = upload;
    upload.key ??= crypto.randomUUID();
    upload.control = new AbortController();
    const told = (changes) => { Object.assign(upload, changes); this.#store.touch(item); };
    return {
      file,
      key: upload.key,
      signal: upload.control.signal,
      request: {
        asset_type: item.asset.asset_type, content_type: contentTypeOf(file), original_filename: filenameOf(file),
        ...(file.size ? { size: file.size } : {}), // Nothing is no size to announce; the scan says that the file is empty.
      },
      phase: (phase) => told({ phase, pace: null }),
      bound: (assetId) => this.#bound(item, assetId),
      offline: (paused) => told({ paused, pace: null }),
      onSent: (sent) => told({ sent, total: file.size, pace: paceOf(upload, sent) }),
      stored: (sent) => { note(item.asset.asset_id, sent).catch((error) => console.warn('progress is not noted', error)); },
    };
  }

  /** Ties the upload to its asset; one that was cancelled meanwhile takes the asset with it. */
  #bound(item, assetId) {
    if (item.upload.cancelled) {
      this.#api.remove(assetId).catch((error) => console.warn('left to expire', assetId, error));
      item.upload.control.signal.throwIfAborted();
    }
    this.#store.bind(item, assetId);
  }
}

/** Since when and from where the bytes are counted, and how many seconds are left at that speed, once that can be told. */
function paceOf({ pace, total }, sent) {
  const now = performance.now();
  if (!pace || sent < pace.from) return { since: now, from: sent, left: null };
  const ms = now - pace.since;
  const speed = (sent - pace.from) / ms;
  return { ...pace, left: ms > PACE_AFTER_MS && speed > 0 ? (total - sent) / speed / 1000 : null };
}

/** The failure in words: what is already there is not lost. */
function asProblem(error, { cancelled, record }) {
  if (cancelled) return new Problem(0, { code: 'upload_cancelled' });
  if (!(error instanceof Problem)) return error;
  const broke = error.code === 'upload_broken' || error.status === 0 || error.status >= 500;
  return record && broke ? new Problem(error.status, { code: 'upload_kept' }) : error;
}
