/** Toasts for what becomes of the files, which screen readers read too. */

import { describeReason } from './messages.js';
import { isolated } from './name-view.js';
import { shownToast, toast } from './toast.js';

/** Names in one sentence. */
const NAMED = 3;
/** The topic of the toast that counts finished files: one for each would cover a phone's screen. */
const READY = 'ready';

/** Show a toast when an asset is finished. Assets finished before the page was opened get none. */
export function announceResults(store) {
  const known = new Map();
  let ready = 0; // How many the present toast tells of.
  store.addEventListener('add', ({ detail }) => known.set(detail, detail.asset.status));
  store.addEventListener('remove', ({ detail }) => known.delete(detail));
  store.addEventListener('change', ({ detail }) => {
    const { asset, upload } = detail;
    if (upload || known.get(detail) === asset.status) return;
    known.set(detail, asset.status);
    const name = isolated(asset.original_filename);
    if (asset.status === 'ready') {
      ready = shownToast(READY) ? ready + 1 : 1;
      toast(ready === 1 ? `${name} is ready.` : `${ready} files are ready.`, 'plain', READY);
    }
    if (asset.status === 'rejected') toast(`${name} was rejected. ${describeReason(asset)}`, 'bad');
    if (asset.status === 'failed') toast(`${name} could not be processed.`, 'bad');
  });
  store.addEventListener('uploadelsewhere', ({ detail }) => toast(`${isolated(detail.asset.original_filename)}: another tab is sending this file already.`));
  store.addEventListener('uploadfailed', ({ detail }) => {
    if (!detail.upload.canceled) toast(`${isolated(detail.asset.original_filename)}: ${detail.upload.error.message}`, 'bad');
  });
}

/** Tell of files that the service takes in no form. */
export function announceRefused(files) {
  if (!files.length) return;
  const names = files.slice(0, NAMED).map(({ name }) => isolated(name)).join(', ') + (files.length > NAMED ? ` and ${files.length - NAMED} more` : '');
  const advice = files.some(({ name }) => /\.(docx?|odt|rtf|txt|pptx?|odp|xlsx?|ods|html?)$/i.test(name)) ? ' Save a document as a PDF, and send that.' : '';
  toast(files.length === 1 ? `${names} is not a picture, a video, a sound or a PDF.${advice}` : `Only pictures, videos, sounds and PDFs are taken. Not sent: ${names}.${advice}`, 'bad');
}
