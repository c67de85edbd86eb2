/** Uploads a large file in parts: sends the missing parts, a few at a time, then completes the upload. */

import { Problem } from './api.js';
import { retry } from './retry.js';
import { isReadable, put } from './xhr-put.js';

const PARTS_AT_ONCE = 3;
/** Number of URLs requested at once: minutes of work on a slow line, few requests on a fast one. */
const URL_BATCH = 24;
/** Seconds by which a URL is renewed before it expires. */
const CLOCK_MARGIN_S = 60;
/** Seconds for which a new URL is used at least, whatever its lifetime. */
const MIN_URL_LIFE_S = 5;
/** How often parts that the service misses are sent again. */
const MAX_ROUNDS = 3;

export class MultipartSender {
  #api;
  #semaphore;
  #job;
  #assetId;
  #size;
  #partSize;
  /** ETags of the stored parts, by part number. */
  #stored = new Map();
  /** Bytes sent of the parts on their way, by part number. */
  #inFlight = new Map();
  /** `{url, validUntil}` by part number. */
  #urls = new Map();
  #signing = null;

  /** `plan` is the service's description of the upload: the part size and the parts that are stored. */
  constructor(api, semaphore, job, plan) {
    this.#api = api;
    this.#semaphore = semaphore;
    this.#job = job;
    this.#assetId = plan.asset_id;
    this.#size = plan.size;
    this.#partSize = plan.part_size;
    this.#setStored(plan);
  }

  /** Send what is missing and complete the upload. Return the asset; throw `Problem`, or the reason of the job's signal. */
  async send() {
    for (let round = 1; ; round += 1) {
      this.#job.setPhase('sending');
      await this.#sendMissing();
      this.#job.setPhase('confirming');
      if ([...this.#stored.values()].includes('')) await this.#refreshStored(); // The storage exposes no ETags to this page.
      try {
        return await retry(() => this.#api.completeParts(this.#assetId, this.#partList()), this.#job);
      } catch (problem) {
        if (problem.code !== 'parts_missing' || round === MAX_ROUNDS) throw problem;
        await this.#refreshStored();
      }
    }
  }

  get #missing() {
    const count = Math.ceil(this.#size / this.#partSize);
    return Array.from({ length: count }, (_, i) => i + 1).filter((number) => !this.#stored.has(number));
  }

  async #refreshStored() { this.#setStored(await retry(() => this.#api.parts(this.#assetId), this.#job)); }

  /** Take the service's list of stored parts. A part of another length than planned counts as missing. */
  #setStored({ parts }) {
    const complete = parts.filter((part) => part.size === this.#sizeOf(part.part_number));
    this.#stored = new Map(complete.map((part) => [part.part_number, part.etag]));
    this.#reportSent();
  }

  #sizeOf(number) { return Math.min(this.#partSize, this.#size - (number - 1) * this.#partSize); }

  #partList() {
    return [...this.#stored].sort(([a], [b]) => a - b).map(([number, etag]) => ({ part_number: number, etag }));
  }

  /** Send the missing parts, several at a time. After a failure no new part starts, but those on their way may finish and count. */
  async #sendMissing() {
    const missing = this.#missing;
    const work = async () => {
      try {
        while (missing.length) await this.#sendPart(missing.shift(), this.#job);
      } catch (problem) {
        missing.length = 0;
        throw problem;
      }
    };
    const results = await Promise.allSettled(Array.from({ length: Math.min(PARTS_AT_ONCE, missing.length) }, work));
    this.#inFlight.clear();
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #sendPart(number, job) {
    const begin = (number - 1) * this.#partSize;
    const body = job.file.slice(begin, begin + this.#sizeOf(number));
    await retry(() => this.#putPart(number, body, job), job);
    this.#inFlight.delete(number);
    this.#reportSent();
    job.onStored(this.#storedBytes);
  }

  async #putPart(number, body, job) {
    const url = await this.#urlOf(number);
    const onSent = (sent) => { this.#inFlight.set(number, sent); this.#reportSent(); };
    const { status, etag } = await this.#semaphore.run(() => put(url, {}, body, { signal: job.signal, onSent }));
    if (status >= 200 && status < 300) { this.#stored.set(number, etag); return; }
    onSent(0);
    this.#urls.delete(number);
    throw await this.#problemOf(status, body, job);
  }

  async #problemOf(status, body, job) {
    if (status === 404) return new Problem(409, { code: 'upload_ended' });
    if (status === 0 && !job.signal.aborted && !await isReadable(body)) return new Problem(400, { code: 'file_unreadable' });
    // 403: the URL expired on the way, or the clocks disagree. A new URL may work, so it counts as transient.
    return new Problem(status === 403 ? 0 : status, { code: 'upload_broken' });
  }

  /** Return a valid URL for a part. The first part that needs one requests the next parts' URLs too. */
  async #urlOf(number) {
    while (!this.#hasValidUrl(number)) {
      this.#signing ??= this.#signUrls(number).finally(() => { this.#signing = null; });
      await this.#signing;
    }
    return this.#urls.get(number).url;
  }

  #hasValidUrl(number) { return this.#urls.get(number)?.validUntil > Date.now(); }

  async #signUrls(number) {
    const others = this.#missing.filter((other) => other > number && !this.#hasValidUrl(other)).slice(0, URL_BATCH - 1);
    const { items, expires_in: life } = await this.#api.signParts(this.#assetId, [number, ...others]);
    const validUntil = Date.now() + Math.max(MIN_URL_LIFE_S, life - CLOCK_MARGIN_S) * 1000;
    for (const { part_number: part, url } of items) this.#urls.set(part, { url, validUntil });
  }

  get #storedBytes() { return [...this.#stored.keys()].reduce((sum, number) => sum + this.#sizeOf(number), 0); }

  #reportSent() {
    const inFlight = [...this.#inFlight].reduce((sum, [number, sent]) => sum + (this.#stored.has(number) ? 0 : sent), 0);
    this.#job.onSent(Math.min(this.#size, this.#storedBytes + inFlight));
  }
}
