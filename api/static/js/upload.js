/** The upload queue: small files go in one PUT, large ones in parts that survive a reload. */

import { Problem } from './api.js';
import { filenameOf, isVisible } from './filename.js';
import { assetTypeOf, contentTypeOf } from './filetype.js';
import { MultipartSender } from './multipart-upload.js';
import { Semaphore, isTransient, retry } from './retry.js';
import { sendSinglePut } from './single-put.js';
import { isSoundOnly } from './sound-only.js';
import { NOT_ARRIVED } from './store.js';
import { Transfer } from './transfer.js';
import { createRecord, deleteRecord, saveProgress, saveRecord, withUploadLock } from './upload-records.js';

const FILES_AT_ONCE = 3;
/** PUTs at once: below the six connections that a browser opens to one host, where a further PUT would wait unseen. */
const PUTS_AT_ONCE = 5;
/** Bytes above which a file goes in parts. A single PUT is limited to 5 GiB and starts over when it breaks. */
const MULTIPART_ABOVE = 32 * 1024 * 1024;
/** Milliseconds of sending after which the time left is estimated. */
const ESTIMATE_AFTER_MS = 3000;
/** Milliseconds after which the service is asked again to confirm a file that has arrived. */
const CONFIRM_AGAIN_MS = 15_000;
/** The reason of an abort by `pauseAll`. */
const PAUSED = new Error('paused');

export class Uploader {
  #api;
  #store;
  #owner;
  #limits;
  #waiting = [];
  #running = new Set();
  #isPaused = false;
  #semaphore = new Semaphore(PUTS_AT_ONCE);

  /** `owner()` returns the present user, to whom the uploads belong. */
  constructor({ api, store, limits, owner }) {
    this.#api = api;
    this.#store = store;
    this.#limits = limits;
    this.#owner = owner;
    this.transfer = new Transfer();
    // The storage's own event was faster than the confirmation, or came in its place: nothing is left to wait for.
    store.addEventListener('change', ({ detail: { asset, upload } }) => {
      if (upload?.phase === 'confirming' && !NOT_ARRIVED.has(asset.status)) upload.control.abort();
    });
  }

  get isBusy() { return this.#running.size + this.#waiting.length > 0; }
  get isPaused() { return this.#isPaused; }
  /** The items that are being sent, and those that wait for it. */
  get items() { return [...this.#running, ...this.#waiting].filter((item) => item.upload); }

  /** Queue files: `[file, promise of a handle or null]` pairs. Return the files of an unknown type. */
  add(files) {
    const refused = [];
    for (const [file, handle] of files) {
      const assetType = assetTypeOf(contentTypeOf(file));
      if (!assetType) { refused.push(file); continue; }
      const since = this.isBusy ? this.transfer.since : Date.now();
      this.#enqueue(Object.assign(this.#store.addUpload(file, assetType, since), { handle }));
    }
    return refused;
  }

  /** Resume an interrupted upload with `file`, which matches its record. */
  resume(item, file) {
    this.#store.moveTo(item, this.isBusy ? this.transfer.since : Date.now());
    Object.assign(item.upload, { file, error: null });
    this.#enqueue(item);
  }

  /** Send a file again after a failure. A multipart upload continues where it stopped. */
  retry(item) {
    const { upload } = item;
    if (upload.error?.code === 'upload_ended') this.#startOver(item);
    Object.assign(upload, { sent: upload.record ? upload.sent : 0, error: null });
    this.#enqueue(item);
  }

  /** Stop sending. What is under way stops where it is: files in parts go on there, others from their beginning. */
  pauseAll() {
    this.#isPaused = true;
    for (const { upload } of this.#running) if (upload && upload.phase !== 'confirming') upload.control.abort(PAUSED);
    for (const item of this.#waiting) this.#setWaiting(item);
  }

  resumeAll() {
    this.#isPaused = false;
    for (const item of this.#waiting) this.#setWaiting(item);
    this.#startNext();
  }

  /** Stop an upload, whether it started or not, and delete its record. */
  cancel(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
    this.transfer.delete(item);
    if (!this.isBusy) this.#isPaused = false;
    if (!item.upload) return;
    clearTimeout(item.upload.timer);
    item.upload.canceled = true;
    item.upload.control?.abort();
    this.#deleteRecord(item.upload);
  }

  #enqueue(item) {
    clearTimeout(item.upload.timer);
    this.transfer.add(item, !this.isBusy);
    this.#waiting.push(item);
    this.#setWaiting(item);
    this.#startNext();
  }

  #setWaiting(item) {
    item.upload.phase = this.#isPaused ? 'paused' : 'waiting';
    this.#store.touch(item);
  }

  #startNext() {
    while (!this.#isPaused && this.#running.size < FILES_AT_ONCE && this.#waiting.length) {
      const item = this.#waiting.shift();
      this.#running.add(item);
      this.#run(item).finally(() => {
        this.#running.delete(item);
        if (!this.isBusy) this.#isPaused = false;
        this.#startNext();
        this.#store.touch(item); // For who counts what is still to be sent.
      });
    }
  }

  async #run(item) {
    try {
      this.#limits.check(item.upload.file, item.asset.asset_type, contentTypeOf(item.upload.file));
      this.#finish(item, await this.#send(item));
    } catch (error) {
      if (error === PAUSED) { this.#putBack(item); return; }
      if (error.code === 'upload_elsewhere') { this.#handOver(item); return; }
      this.#fail(item, error);
      // A user who dismissed the sign-in dialog is not asked again for every queued file.
      if (error.code === 'signed_out') this.#waiting.splice(0).forEach((other) => this.#fail(other, error));
    }
  }

  #finish(item, asset) {
    this.#deleteRecord(item.upload);
    item.upload = null;
    this.#store.put(asset);
    this.#store.touch(item);
  }

  /** Let a stopped item wait again, at its place in the row. A file that goes in one piece begins anew. */
  #putBack(item) {
    if (!item.upload.record) item.upload.sent = 0;
    this.#waiting = [...this.#waiting, item].sort((a, b) => b.since - a.since || a.order - b.order);
    this.#setWaiting(item);
  }

  #fail(item, error) {
    if (!NOT_ARRIVED.has(item.asset.status)) { this.#finish(item, item.asset); return; }
    if (item.upload.stored && isTransient(error)) { this.#awaitConfirmation(item); return; }
    if (error.code !== 'signed_out') item.upload.stored = false; // The service does not have it: it is sent again.
    Object.assign(item.upload, { phase: 'broken', paused: false, error: toProblem(error, item.upload) });
    this.#store.touch(item);
    this.#store.dispatchEvent(new CustomEvent('uploadfailed', { detail: item }));
  }

  /** Ask again later to confirm a file that the storage has. Meanwhile the storage's own event may tell the service. */
  #awaitConfirmation(item) {
    Object.assign(item.upload, { phase: 'arrived', paused: false, error: null });
    item.upload.timer = setTimeout(() => this.#confirmAgain(item), CONFIRM_AGAIN_MS);
    this.#store.touch(item);
  }

  async #confirmAgain(item) {
    try {
      const asset = await this.#api.confirmUpload(item.asset.asset_id);
      if (item.upload) this.#finish(item, asset);
    } catch (problem) {
      if (item.upload) this.#fail(item, problem);
    }
  }

  /** Leave the upload to another tab. The item becomes a plain asset that live events keep up to date. */
  #handOver(item) {
    item.upload = null;
    this.#store.touch(item);
    this.#store.dispatchEvent(new CustomEvent('uploadelsewhere', { detail: item }));
  }

  async #send(item) {
    if (!isVisible(filenameOf(item.upload.file))) throw new Problem(422, { code: 'name_invisible' });
    const job = this.#createJob(item);
    await this.#tellSoundFromFilm(item, job);
    if (!item.upload.record && job.file.size <= MULTIPART_ABOVE) return sendSinglePut(this.#api, this.#semaphore, job);
    const plan = await this.#planParts(item, job);
    if (plan.status) return plan; // It is the asset: nothing is left to send.
    return withUploadLock(plan.asset_id, () => new MultipartSender(this.#api, this.#semaphore, job, plan).send(), () => {
      throw new Problem(409, { code: 'upload_elsewhere' });
    });
  }

  /** Send what has no picture as audio. An upload that began goes on as what it is. */
  async #tellSoundFromFilm(item, { file, request, signal }) {
    if (request.asset_type !== 'video' || item.asset.asset_id || item.upload.record) return;
    if (await isSoundOnly(file, request.content_type)) {
      item.asset.asset_type = request.asset_type = 'audio';
      request.content_type = contentTypeOf(file, 'audio');
      this.#store.touch(item);
    }
    signal.throwIfAborted();
  }

  /** Ask the service for the parts of a recorded upload, or start one and record it. Return the asset if it has arrived already. */
  async #planParts(item, job) {
    job.setPhase('asking');
    if (item.upload.record) return this.#findParts(item.upload.record, job);
    const plan = await retry(() => this.#api.startParts(job.request, job.key), job);
    job.bindAsset(plan.asset_id);
    await this.#saveRecord(item, job, plan);
    return plan;
  }

  /** An upload that has ended was completed, although the answer was lost, or has expired. */
  async #findParts({ asset_id: id }, job) {
    try {
      return await retry(() => this.#api.parts(id), job);
    } catch (problem) {
      const asset = problem.code === 'upload_ended' ? await this.#api.asset(id) : null;
      if (!asset || NOT_ARRIVED.has(asset.status)) throw problem;
      return asset;
    }
  }

  /** Save the record before the first byte leaves. If that fails, the upload goes on but cannot be resumed after a reload. */
  async #saveRecord(item, job, plan) {
    const record = await createRecord(job.file, { plan, owner: this.#owner(), request: job.request, handle: await item.handle ?? null });
    item.upload.record = record;
    await saveRecord(record).catch((error) => console.warn('the upload cannot be remembered', error));
  }

  #deleteRecord({ record }) {
    if (record) deleteRecord(record.asset_id).catch((error) => console.warn('the upload cannot be forgotten', error));
  }

  /** Prepare a new upload for a file whose multipart upload has expired, and remove the old asset. */
  #startOver(item) {
    const { record } = item.upload;
    this.#deleteRecord(item.upload);
    Object.assign(item.upload, { record: null, key: crypto.randomUUID() });
    if (record) this.#api.remove(record.asset_id).catch((error) => console.warn('left to expire', record.asset_id, error));
  }

  /** Build what the senders need of an upload: the request, the abort signal and the callbacks for its progress. */
  #createJob(item) {
    const { upload } = item;
    const { file } = upload;
    upload.key ??= crypto.randomUUID();
    upload.control = new AbortController();
    const update = (changes) => { Object.assign(upload, changes); this.#store.touch(item); };
    return {
      file,
      key: upload.key,
      signal: upload.control.signal,
      request: {
        asset_type: item.asset.asset_type, content_type: contentTypeOf(file, item.asset.asset_type), original_filename: filenameOf(file),
        ...(file.size ? { size: file.size } : {}), // The API takes no size of 0; the scan reports the empty file.
      },
      setPhase: (phase) => update({ phase, pace: null }),
      bindAsset: (assetId) => this.#bindAsset(item, assetId),
      isStored: () => Boolean(upload.stored),
      setStored: () => { upload.stored = true; },
      onOffline: (paused) => update({ paused, pace: null }),
      onSent: (sent) => update({ sent, total: file.size, pace: paceOf(upload, sent) }),
      onStored: (sent) => { saveProgress(item.asset.asset_id, sent).catch((error) => console.warn('progress is not noted', error)); },
    };
  }

  /** Tie the upload to its asset. If the upload was canceled meanwhile, delete the asset. */
  #bindAsset(item, assetId) {
    if (item.upload.canceled) {
      this.#api.remove(assetId).catch((error) => console.warn('left to expire', assetId, error));
      item.upload.control.signal.throwIfAborted();
    }
    this.#store.bind(item, assetId);
  }
}

/** Return `{since, from, left}`: when and at which byte the measurement began, and the seconds left, or null at the beginning. */
function paceOf({ pace, total }, sent) {
  const now = performance.now();
  if (!pace || sent < pace.from) return { since: now, from: sent, left: null };
  const ms = now - pace.since;
  const speed = (sent - pace.from) / ms;
  return { ...pace, left: ms > ESTIMATE_AFTER_MS && speed > 0 ? (total - sent) / speed / 1000 : null };
}

/** Turn an error into the problem to show. A broken multipart upload says that the stored parts are kept. */
function toProblem(error, { canceled, record }) {
  if (canceled) return new Problem(0, { code: 'upload_canceled' });
  if (!(error instanceof Problem)) return error;
  const broke = error.code === 'upload_broken' || error.status === 0 || error.status >= 500;
  return record && broke ? new Problem(error.status, { code: 'upload_kept' }) : error;
}
