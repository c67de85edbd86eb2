/** Sends a large file in parts: those that are missing, a few at a time, then has them put together. */

import { Problem } from './api.js';
import { persist } from './retry.js';
import { put, readable } from './xhr-put.js';

const AT_ONCE = 3;
/** URLs asked for at once: some minutes of work for a slow line, and few requests for a fast one. */
const BATCH = 24;
const MARGIN_S = 60;
const SHORTEST_LIFE_S = 5;
const ROUNDS = 3;

export class PartSender {
  #api;
  #lanes;
  #job;
  #id;
  #size;
  #partSize;
  #stored = new Map();
  #moving = new Map();
  #links = new Map();
  #signing = null;

  /** `plan` is what the service says of the upload: its parts' size and those that are there. */
  constructor(api, lanes, job, plan) {
    this.#api = api;
    this.#lanes = lanes;
    this.#job = job;
    this.#id = plan.asset_id;
    this.#size = plan.size;
    this.#partSize = plan.part_size;
    this.#take(plan);
  }

  /** The asset, once all parts are there and put together. Raises `Problem`, or the reason of the job's signal. */
  async send() {
    for (let round = 1; ; round += 1) {
      this.#job.phase('sending');
      await this.#sendMissing();
      this.#job.phase('confirming');
      if ([...this.#stored.values()].includes('')) await this.#look(); // The storage exposes no ETags to this page.
      try {
        return await persist(() => this.#api.completeParts(this.#id, this.#named()), this.#job);
      } catch (problem) {
        if (problem.code !== 'parts_missing' || round === ROUNDS) throw problem;
        await this.#look();
      }
    }
  }

  get #count() { return Math.ceil(this.#size / this.#partSize); }

  get #missing() {
    return Array.from({ length: this.#count }, (_, i) => i + 1).filter((number) => !this.#stored.has(number));
  }

  async #look() { this.#take(await persist(() => this.#api.parts(this.#id), this.#job)); }

  /** Believes the service about what is there; a part of another length is none. */
  #take({ parts }) {
    const whole = parts.filter((part) => part.size === this.#sizeOf(part.part_number));
    this.#stored = new Map(whole.map((part) => [part.part_number, part.etag]));
    this.#tell();
  }

  #sizeOf(number) { return Math.min(this.#partSize, this.#size - (number - 1) * this.#partSize); }

  #named() {
    return [...this.#stored].sort(([a], [b]) => a - b).map(([number, etag]) => ({ part_number: number, etag }));
  }

  /** Several at a time. When one fails for good no other is begun, but what is on its way may arrive: it is kept. */
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
    const ends = await Promise.allSettled(Array.from({ length: Math.min(AT_ONCE, missing.length) }, work));
    this.#moving.clear();
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #sendPart(number, job) {
    const begin = (number - 1) * this.#partSize;
    const body = job.file.slice(begin, begin + this.#sizeOf(number));
    await persist(() => this.#putPart(number, body, job), job);
    this.#moving.delete(number);
    this.#tell();
    job.stored(this.#storedBytes);
  }

  async #putPart(number, body, job) {
    const url = await this.#urlOf(number);
    const onSent = (sent) => { this.#moving.set(number, sent); this.#tell(); };
    const { status, etag } = await this.#lanes.run(() => put(url, {}, body, { signal: job.signal, onSent }));
    if (status >= 200 && status < 300) { this.#stored.set(number, etag); return; }
    onSent(0);
    this.#links.delete(number);
    throw await this.#problemOf(status, body, job);
  }

  async #problemOf(status, body, job) {
    if (status === 404) return new Problem(409, { code: 'upload_ended' });
    if (status === 0 && !job.signal.aborted && !await readable(body)) return new Problem(400, { code: 'file_unreadable' });
    // A 403 is a URL that ran out on the way, or that a clock disagrees with: another one may do, so it counts as passing.
    return new Problem(status === 403 ? 0 : status, { code: 'upload_broken' });
  }

  /** A URL that still lives. Whoever needs one first asks for those of the next parts too. */
  async #urlOf(number) {
    while (!this.#fresh(number)) {
      this.#signing ??= this.#sign(number).finally(() => { this.#signing = null; });
      await this.#signing;
    }
    return this.#links.get(number).url;
  }

  #fresh(number) { return this.#links.get(number)?.until > Date.now(); }

  async #sign(number) {
    const others = this.#missing.filter((other) => other > number && !this.#fresh(other)).slice(0, BATCH - 1);
    const { items, expires_in: life } = await this.#api.signParts(this.#id, [number, ...others]);
    const until = Date.now() + Math.max(SHORTEST_LIFE_S, life - MARGIN_S) * 1000;
    for (const { part_number: part, url } of items) this.#links.set(part, { url, until });
  }

  get #storedBytes() { return [...this.#stored.keys()].reduce((sum, number) => sum + this.#sizeOf(number), 0); }

  #tell() {
    const moving = [...this.#moving].reduce((sum, [number, sent]) => sum + (this.#stored.has(number) ? 0 : sent), 0);
    this.#job.onSent(Math.min(this.#size, this.#storedBytes + moving));
  }
}
