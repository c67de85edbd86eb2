/** The gallery page: creates the parts and connects them. */

import { Api, Urls } from './api.js';
import { droppedFiles } from './filetype.js';
import { Gallery } from './gallery.js';
import { describeReason, percentOf } from './messages.js';
import { showPauseNotice } from './pause-notice.js';
import { ResumeList } from './resume-list.js';
import { Resumer } from './resume.js';
import { Session } from './session.js';
import { SignIn } from './signin.js';
import { Store } from './store.js';
import { showError, toast } from './toast.js';
import { Uploader } from './upload.js';
import { Viewer } from './viewer.js';
import { Watcher } from './watch.js';

const element = (id) => document.getElementById(id);
const session = new Session();
const store = new Store();
const signIn = new SignIn(session, showUser);
const api = new Api(session, () => signIn.renew(), showPauseNotice);
/** For requests that no user action caused: it does not repeat a sign-in dialog that was dismissed. */
const background = new Api(session, () => signIn.renewInBackground(), showPauseNotice);
const urls = new Urls(background);
const uploader = new Uploader(api, store, () => session.claims.sub);
const actions = { open, copy, remove, retry: (item) => uploader.retry(item), cancel };
const gallery = new Gallery({ api, store, urls, actions });
const viewer = new Viewer({ api, store, urls, actions });
const resumer = new Resumer({ api, store, uploader, owner: () => session.claims.sub });
new ResumeList({ resumer, store, confirmDiscard });

function open(item) { viewer.open(item); }

async function copy(item, rendition = '') {
  try {
    const { url, expires_at: end } = await urls.of(item.asset, rendition);
    await navigator.clipboard.writeText(new URL(url, location.href).href);
    toast(end ? `Link copied. It works until ${new Date(end).toLocaleTimeString([], { timeStyle: 'short' })}.` : 'Link copied.');
  } catch (problem) {
    showError(problem);
  }
}

async function cancel(item) {
  uploader.cancel(item);
  store.remove(item);
  if (item.asset.asset_id) await api.remove(item.asset.asset_id).catch(showError);
  toast('Upload canceled.');
}

async function remove(item) {
  if (!item.asset.asset_id) { store.remove(item); return; }
  if (!await confirmDeletion('confirm', item.asset.original_filename)) return;
  uploader.cancel(item);
  try {
    await api.remove(item.asset.asset_id);
    urls.forget(item.asset.asset_id);
    store.remove(item);
    toast(`${item.asset.original_filename} was deleted.`);
  } catch (problem) {
    showError(problem);
  }
}

function confirmDiscard({ asset, upload }) {
  const name = asset.original_filename;
  const subject = upload.ended ? `The unfinished upload of ${name}` : `The ${percentOf(upload)} % of ${name} that have arrived`;
  return confirmDeletion('confirm-discard', subject);
}

/** Open the confirmation dialog `id`. Resolve to true if the user confirms the deletion. */
function confirmDeletion(id, name) {
  const dialog = element(id);
  dialog.querySelector('strong').textContent = name;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'delete'), { once: true });
  });
}

function showUser() {
  const { sub, role } = session.claims;
  element('who').hidden = !sub || signIn.declined;
  element('sign-in-open').hidden = !signIn.declined;
  element('scanner-note').hidden = !session.scanner;
  element('scanner').textContent = session.scanner;
  element('who-name').textContent = [sub, role].filter(Boolean).join(' · ');
}

/** Send files: a list, or a map from files to promised handles. An interrupted upload of the same file is resumed. */
async function send(files) {
  const handles = files instanceof Map ? files : new Map(files.map((file) => [file, null]));
  const refused = uploader.add(await resumer.resumeMatching(handles));
  for (const file of refused) toast(`${file.name} is not a picture, a video, a sound or a PDF.`, 'bad');
}

function listenForFiles() {
  element('pick').addEventListener('click', () => element('files').click());
  element('files').addEventListener('change', ({ target }) => { send([...target.files]).catch(showError); target.value = ''; });
  let leaving = false; // The page reloads for another user, who was asked. Multipart uploads are kept for the first user.
  let depth = 0; // dragenter and dragleave fire for every element under the pointer.
  const show = () => document.body.classList.toggle('is-dragging', depth > 0);
  const carriesFiles = (event) => event.dataTransfer.types.includes('Files');
  addEventListener('dragenter', (event) => { if (carriesFiles(event)) { depth += 1; show(); } });
  addEventListener('dragleave', (event) => { if (carriesFiles(event)) { depth -= 1; show(); } });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    depth = 0;
    show();
    send(droppedFiles(event.dataTransfer)).catch(showError);
  });
  addEventListener('paste', (event) => send([...event.clipboardData.files]).catch(showError));
  addEventListener('beforeunload', (event) => { if (uploader.isBusy && !leaving) event.preventDefault(); });
  addEventListener('userchange', () => { leaving = true; });
}

/** Show a toast, which screen readers read, when an asset is finished. Assets finished before the page was opened get none. */
function announceResults() {
  const known = new Map();
  store.addEventListener('add', ({ detail }) => known.set(detail, detail.asset.status));
  store.addEventListener('remove', ({ detail }) => known.delete(detail));
  store.addEventListener('change', ({ detail }) => {
    const { asset, upload } = detail;
    if (upload || known.get(detail) === asset.status) return;
    known.set(detail, asset.status);
    if (asset.status === 'ready') toast(`${asset.original_filename} is ready.`);
    if (asset.status === 'rejected') toast(`${asset.original_filename} was rejected. ${describeReason(asset)}`, 'bad');
    if (asset.status === 'failed') toast(`${asset.original_filename} could not be processed.`, 'bad');
  });
  store.addEventListener('uploadelsewhere', ({ detail }) => toast(`${detail.asset.original_filename}: another tab is sending this file already.`));
  store.addEventListener('uploadfailed', ({ detail }) => {
    if (!detail.upload.canceled) toast(`${detail.asset.original_filename}: ${detail.upload.error.message}`, 'bad');
  });
}

/** Load the present user's assets and interrupted uploads. */
async function loadAll() {
  await gallery.reload();
  await resumer.load();
}

async function start() {
  listenForFiles();
  announceResults();
  element('sign-in-open').addEventListener('click', () => signIn.renew().then(loadAll).catch(showError));
  addEventListener('hashchange', () => {
    const token = session.popAddressToken();
    if (token) signIn.useToken(token).then(loadAll).catch(showError);
  });
  try {
    if (!await session.open()) await signIn.renew();
    showUser();
    await loadAll();
  } finally {
    new Watcher(background, store).start();
  }
}

start().catch(showError);
