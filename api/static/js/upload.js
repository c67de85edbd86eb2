/** Sends files the way every client does: ask for a URL, PUT the bytes there, confirm. */

import { Problem } from './api.js';

const AT_ONCE = 3;
const TRIES = 3;
const STALL_MS = 60_000;

/** Types that browsers do not name, by suffix. */
const BY_SUFFIX = {
  heic: 'image/heic', heif: 'image/heif', avif: 'image/avif', mkv: 'video/x-matroska', mov: 'video/quicktime',
  m4a: 'audio/mp4', flac: 'audio/flac', opus: 'audio/ogg', ts: 'video/mp2t',
};

/** The content type to announce for a file, or '' when nothing tells. */
export function contentTypeOf(file) {
  return file.type || BY_SUFFIX[file.name.split('.').pop().toLowerCase()] || '';
}

/** `image`, `video`, `audio`, `document`, or null for what the service does not take. */
export function assetTypeOf(contentType) {
  if (contentType === 'application/pdf') return 'document';
  const kind = contentType.split('/')[0];
  return ['image', 'video', 'audio'].includes(kind) ? kind : null;
}

export class Uploader {
  #api;
  #store;
  #waiting = [];
  #running = 0;

  constructor(api, store) {
    this.#api = api;
    this.#store = store;
  }

  get busy() { return this.#running + this.#waiting.length > 0; }

  /** Queues the files; returns those that no type fits. */
  add(files) {
    const refused = [];
    for (const file of files) {
      const assetType = assetTypeOf(contentTypeOf(file));
      if (assetType) this.#waiting.push(this.#store.addUpload(file, assetType));
      else refused.push(file);
    }
    this.#next();
    return refused;
  }

  /** Sends a file again whose upload broke. */
  retry(item) {
    Object.assign(item.upload, { phase: 'waiting', sent: 0, error: null });
    this.#waiting.push(item);
    this.#store.touch(item);
    this.#next();
  }

  /** Stops an upload, started or not. */
  cancel(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
    item.upload?.request?.abort();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#waiting.length) {
      this.#running += 1;
      this.#run(this.#waiting.shift()).finally(() => { this.#running -= 1; this.#next(); });
    }
  }

  async #run(item) {
    try {
      await this.#send(item);
    } catch (error) {
      Object.assign(item.upload, { phase: 'broken', error });
      this.#store.touch(item);
      this.#store.dispatchEvent(new CustomEvent('uploadfailed', { detail: item }));
    }
  }

  async #send(item) {
    const { file } = item.upload;
    this.#phase(item, 'asking');
    const slot = await this.#api.startUpload({
      asset_type: item.asset.asset_type, content_type: contentTypeOf(file), original_filename: file.name,
      ...(file.size ? { size: file.size } : {}), // Nothing is no size to announce; the scan says that the file is empty.
    }, crypto.randomUUID());
    this.#store.bind(item, slot.asset_id);
    this.#phase(item, 'sending');
    await this.#put(item, slot);
    this.#phase(item, 'confirming');
    const asset = await this.#api.confirmUpload(slot.asset_id);
    item.upload = null;
    this.#store.put(asset);
    this.#store.touch(item);
  }

  async #put(item, slot) {
    for (let attempt = 1; ; attempt += 1) {
      const status = await this.#putOnce(item, slot);
      // 412: an earlier attempt got through although its answer did not.
      if (status === 412 || (status >= 200 && status < 300)) return;
      if (item.upload.cancelled) throw new Problem(0, { code: 'upload_cancelled' });
      const worthAnother = status === 0 || status >= 500;
      if (!worthAnother || attempt === TRIES) throw new Problem(status, { code: 'upload_broken' });
    }
  }

  /** One PUT; resolves with its status, 0 when the connection broke or stood still for a minute. */
  #putOnce(item, slot) {
    const request = new XMLHttpRequest(); // fetch tells nothing of how much has been sent.
    const { upload } = item;
    upload.request = { abort: () => { upload.cancelled = true; request.abort(); } };
    let watchdog;
    const alive = () => { clearTimeout(watchdog); watchdog = setTimeout(() => request.abort(), STALL_MS); };
    request.open('PUT', slot.upload_url);
    for (const [name, value] of Object.entries(slot.headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      alive();
      Object.assign(upload, { sent: event.loaded, total: event.total });
      this.#store.touch(item);
    };
    alive();
    return new Promise((resolve) => {
      request.onloadend = () => { clearTimeout(watchdog); resolve(request.status); };
      request.send(upload.file);
    });
  }

  #phase(item, phase) {
    item.upload.phase = phase;
    this.#store.touch(item);
  }
}
