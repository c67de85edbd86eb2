/** Wires the page together. */

import { Api, Urls } from './api.js';
import { tellPause } from './pause-notice.js';
import { droppedFiles } from './filetype.js';
import { Gallery } from './gallery.js';
import { Resumer } from './resume.js';
import { Session } from './session.js';
import { SignIn } from './signin.js';
import { Store } from './store.js';
import { complain, toast } from './toast.js';
import { Unfinished } from './resume-list.js';
import { Uploader } from './upload.js';
import { Viewer } from './viewer.js';
import { Watcher } from './watch.js';
import { percentOf, reasonInWords } from './messages.js';

const element = (id) => document.getElementById(id);
const session = new Session();
const store = new Store();
const signIn = new SignIn(session, showWho);
const api = new Api(session, () => signIn.renew(), tellPause);
/** For what goes on by itself: it does not ask again for a token that nobody wanted to give. */
const background = new Api(session, () => signIn.renewUnasked(), tellPause);
const urls = new Urls(background);
const uploader = new Uploader(api, store, () => session.claims.sub);
const actions = { open, copy, remove, retry: (item) => uploader.retry(item), cancel };
const gallery = new Gallery({ api, store, urls, actions });
const viewer = new Viewer({ api, store, urls, actions });
const resumer = new Resumer({ api, store, uploader, owner: () => session.claims.sub });
new Unfinished({ resumer, store, confirmed: confirmedDiscard });

function open(item) { viewer.open(item); }

async function copy(item, rendition = '') {
  try {
    const { url, expires_at: end } = await urls.of(item.asset, rendition);
    await navigator.clipboard.writeText(new URL(url, location.href).href);
    toast(end ? `Link copied. It works until ${new Date(end).toLocaleTimeString([], { timeStyle: 'short' })}.` : 'Link copied.');
  } catch (problem) {
    complain(problem);
  }
}

async function cancel(item) {
  uploader.cancel(item);
  store.remove(item);
  if (item.asset.asset_id) await api.remove(item.asset.asset_id).catch(complain);
  toast('Upload cancelled.');
}

async function remove(item) {
  if (!item.asset.asset_id) { store.remove(item); return; }
  if (!await confirmed('confirm', item.asset.original_filename)) return;
  uploader.cancel(item);
  try {
    await api.remove(item.asset.asset_id);
    urls.forget(item.asset.asset_id);
    store.remove(item);
    toast(`${item.asset.original_filename} was deleted.`);
  } catch (problem) {
    complain(problem);
  }
}

function confirmedDiscard({ asset, upload }) {
  const name = asset.original_filename;
  const what = upload.ended ? `The unfinished upload of ${name}` : `The ${percentOf(upload)} % of ${name} that have arrived`;
  return confirmed('confirm-discard', what);
}

/** Asks before something is deleted for good. */
function confirmed(id, name) {
  const dialog = element(id);
  dialog.querySelector('strong').textContent = name;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'delete'), { once: true });
  });
}

function showWho() {
  const { sub, role } = session.claims;
  element('who').hidden = !sub || signIn.declined;
  element('sign-in-open').hidden = !signIn.declined;
  element('scanner-note').hidden = !session.scanner;
  element('scanner').textContent = session.scanner;
  element('who-name').textContent = [sub, role].filter(Boolean).join(' · ');
}

/** Sends files: a list, or a map to promised handles. One whose upload was interrupted goes on where it was. */
async function send(files) {
  const given = files instanceof Map ? files : new Map(files.map((file) => [file, null]));
  const refused = uploader.add(await resumer.takeBack(given));
  for (const file of refused) toast(`${file.name} is not a picture, a video, a sound or a PDF.`, 'bad');
}

function listenForFiles() {
  element('pick').addEventListener('click', () => element('files').click());
  element('files').addEventListener('change', ({ target }) => { send([...target.files]).catch(complain); target.value = ''; });
  let leaving = false; // The user changes, and was asked: uploads in parts are kept for when they come back.
  let depth = 0; // dragenter and dragleave come for every element on the way.
  const show = () => document.body.classList.toggle('is-dragging', depth > 0);
  const carriesFiles = (event) => event.dataTransfer.types.includes('Files');
  addEventListener('dragenter', (event) => { if (carriesFiles(event)) { depth += 1; show(); } });
  addEventListener('dragleave', (event) => { if (carriesFiles(event)) { depth -= 1; show(); } });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    depth = 0;
    show();
    send(droppedFiles(event.dataTransfer)).catch(complain);
  });
  addEventListener('paste', (event) => send([...event.clipboardData.files]).catch(complain));
  addEventListener('beforeunload', (event) => { if (uploader.busy && !leaving) event.preventDefault(); });
  addEventListener('userchange', () => { leaving = true; });
}

/** Says aloud what a sighted user sees happen on the cards. What was over before the page was opened is no news. */
function announceEnds() {
  const known = new Map();
  store.addEventListener('add', ({ detail }) => known.set(detail, detail.asset.status));
  store.addEventListener('remove', ({ detail }) => known.delete(detail));
  store.addEventListener('change', ({ detail }) => {
    const { asset, upload } = detail;
    if (upload || known.get(detail) === asset.status) return;
    known.set(detail, asset.status);
    if (asset.status === 'ready') toast(`${asset.original_filename} is ready.`);
    if (asset.status === 'rejected') toast(`${asset.original_filename} was rejected. ${reasonInWords(asset)}`, 'bad');
    if (asset.status === 'failed') toast(`${asset.original_filename} could not be processed.`, 'bad');
  });
  store.addEventListener('uploadelsewhere', ({ detail }) => toast(`${detail.asset.original_filename}: another tab is sending this file already.`));
  store.addEventListener('uploadfailed', ({ detail }) => {
    if (!detail.upload.cancelled) toast(`${detail.asset.original_filename}: ${detail.upload.error.message}`, 'bad');
  });
}

/** All that the present user has, and what was left unfinished. */
async function showAll() {
  await gallery.reload();
  await resumer.look();
}

async function start() {
  listenForFiles();
  announceEnds();
  element('sign-in-open').addEventListener('click', () => signIn.renew().then(showAll).catch(complain));
  addEventListener('hashchange', () => {
    const token = session.cutFromAddress();
    if (token) signIn.take(token).then(showAll).catch(complain);
  });
  try {
    if (!await session.open()) await signIn.renew();
    showWho();
    await showAll();
  } finally {
    new Watcher(background, store).start();
  }
}

start().catch(complain);
