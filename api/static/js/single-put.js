/** Sends a file in one PUT: ask for a URL, send, confirm. */

import { Problem } from './api.js';
import { persist } from './retry.js';
import { put, readable } from './xhr-put.js';

/** Before the end of a URL's life; a clock may be wrong by that much. */
const MARGIN_S = 30;

/** Carries out one `job` of the uploader. Returns the asset; raises `Problem`, or the reason of `job.signal`. */
export async function sendWhole(api, lanes, job) {
  job.phase('asking');
  let slot = await persist(() => ask(api, job), job);
  job.bound(slot.asset_id);
  job.phase('sending');
  let renewed = false;
  await persist(async () => {
    if (slot.until < Date.now()) slot = await ask(api, job);
    const { status } = await lanes.run(() => put(slot.upload_url, slot.headers, job.file, job));
    // 412: an earlier attempt got through although its answer did not.
    if (status === 412 || (status >= 200 && status < 300)) return;
    if (status === 403 && !renewed) { // The URL ran out on the way, by the storage's clock.
      renewed = true;
      slot.until = 0;
      throw new Problem(0, { code: 'upload_broken' });
    }
    if (!await readable(job.file)) throw new Problem(400, { code: 'file_unreadable' });
    throw new Problem(status, { code: 'upload_broken' });
  }, job);
  job.phase('confirming');
  return persist(() => api.confirmUpload(slot.asset_id), job);
}

/** The same key gives the same asset and a fresh URL, however often it is asked. */
async function ask(api, job) {
  const slot = await api.startUpload(job.request, job.key);
  return { ...slot, until: Date.now() + (slot.expires_in - MARGIN_S) * 1000 };
}
