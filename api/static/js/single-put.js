/** Uploads a file in one PUT: request a URL, send, confirm. */

import { Problem } from './api.js';
import { retry } from './retry.js';
import { isReadable, put } from './xhr-put.js';

/** Seconds by which a URL is renewed before it expires, in case the browser's clock is wrong. */
const CLOCK_MARGIN_S = 30;

/** Upload the file of an uploader's `job`. Return the asset; throw `Problem`, or the reason of `job.signal`. */
export async function sendSinglePut(api, semaphore, job) {
  job.setPhase('asking');
  let ticket = await retry(() => requestTicket(api, job), job);
  job.bindAsset(ticket.asset_id);
  if (job.isStored()) return confirm(api, ticket.asset_id, job);
  job.setPhase('sending');
  let renewed = false;
  await retry(async () => {
    if (ticket.validUntil < Date.now()) ticket = await requestTicket(api, job);
    const { status } = await semaphore.run(() => put(ticket.upload_url, ticket.headers, job.file, job));
    // 412: an earlier attempt succeeded although its response was lost.
    if (status === 412 || (status >= 200 && status < 300)) return;
    if (status === 403 && !renewed) { // By the storage's clock the URL expired on the way.
      renewed = true;
      ticket.validUntil = 0;
      throw new Problem(0, { code: 'upload_broken' });
    }
    if (!await isReadable(job.file)) throw new Problem(400, { code: 'file_unreadable' });
    throw new Problem(status, { code: 'upload_broken' });
  }, job);
  job.setStored();
  return confirm(api, ticket.asset_id, job);
}

async function confirm(api, assetId, job) {
  job.setPhase('confirming');
  return retry(() => api.confirmUpload(assetId), job);
}

/** Request an upload URL. The idempotency key makes every request return the same asset, with a fresh URL. */
async function requestTicket(api, job) {
  const ticket = await api.startUpload(job.request, job.key);
  return { ...ticket, validUntil: Date.now() + (ticket.expires_in - CLOCK_MARGIN_S) * 1000 };
}
