/** The gallery page: creates the parts and connects them. */

import { Actions } from './actions.js';
import { announceRefused, announceResults } from './announcements.js';
import { Api, Urls } from './api.js';
import { h } from './dom.js';
import { droppedFiles } from './filetype.js';
import { Filters } from './filters.js';
import { Gallery } from './gallery.js';
import { Limits } from './limits.js';
import { OtherTabs } from './other-tabs.js';
import { showPauseNotice } from './pause-notice.js';
import { ResumeList } from './resume-list.js';
import { Resumer } from './resume.js';
import { Selection } from './selection.js';
import { Session } from './session.js';
import { SignIn } from './signin.js';
import { Store } from './store.js';
import { showError } from './toast.js';
import { TransferBar } from './transfer-bar.js';
import { Uploader } from './upload.js';
import { Viewer } from './viewer.js';
import { Watcher } from './watch.js';

const element = (id) => document.getElementById(id);
const session = new Session();
const store = new Store();
const signIn = new SignIn(session, showUser);
const otherTabs = new OtherTabs(session);
const api = new Api(session, () => signIn.renew(), showPauseNotice);
/** For requests that no user action caused: it does not repeat a sign-in dialog that was dismissed. */
const background = new Api(session, () => signIn.renewInBackground(), showPauseNotice);
const urls = new Urls(background);
const limits = new Limits();
const owner = () => session.claims.sub;
const uploader = new Uploader({ api, store, limits, owner });
const actions = new Actions({ api, store, urls, uploader });
const filters = new Filters();
const cardActions = {
  open: (item) => (selection.isActive ? selection.toggle(item) : viewer.open(item)),
  select: (item, selected) => selection.set(item, selected),
  ...Object.fromEntries(['copy', 'download', 'remove', 'retry', 'cancel'].map((name) => [name, (...given) => actions[name](...given)])),
};
const gallery = new Gallery({ api, store, urls, filters, actions: cardActions });
const selection = new Selection({ gallery, store, filters, actions });
const viewer = new Viewer({ api, store, urls, gallery, actions: cardActions });
const resumer = new Resumer({ api, store, uploader, owner });
new ResumeList({ resumer, store, confirmDiscard: (item) => actions.confirmDiscard(item) });
new TransferBar({ uploader, store, cancelAll: () => actions.cancelAll() });
let leaving = false; // The page reloads for another user, who was asked. Multipart uploads are kept for the first user.

function showUser() {
  const { sub, role } = session.claims;
  element('who').hidden = !sub || signIn.declined;
  element('sign-in-open').hidden = Boolean(sub) && !signIn.declined;
  element('scanner-note').hidden = !session.scanner;
  element('scanner').textContent = session.scanner;
  element('who-name').textContent = [sub, role].filter(Boolean).join(' · ');
  otherTabs.announce();
}

/** Tell at the drop zone what is taken. Without an answer the service itself refuses what it does not take. */
async function showLimits() {
  await limits.load(background);
  const kinds = limits.describe();
  element('limits-short').textContent = kinds.map(({ title, size }) => `${title} up to ${size}`).join(', ');
  element('limits-list').replaceChildren(...kinds.map(({ title, formats }) => h('li', {}, h('strong', {}, title), ` ${formats}`)));
  element('limits').hidden = false;
}

/** Send files: a list, or a map from files to promised handles. An interrupted upload of the same file is resumed. */
async function send(files) {
  const handles = files instanceof Map ? files : new Map(files.map((file) => [file, null]));
  announceRefused(uploader.add(await resumer.resumeMatching(handles)));
}

function listenForFiles() {
  element('pick').addEventListener('click', () => element('files').click());
  element('files').addEventListener('change', ({ target }) => { send([...target.files]).catch(showError); target.value = ''; });
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

function listenForUsers() {
  element('sign-in-open').addEventListener('click', () => signIn.renew().then(loadAll).catch(showError));
  element('sign-out').addEventListener('click', async () => {
    if (uploader.isBusy && !await actions.confirmSignOut()) return;
    leaving = true;
    session.signOut();
    location.reload();
  });
  addEventListener('hashchange', () => {
    const token = session.popAddressToken();
    if (token) signIn.useToken(token).then(loadAll).catch(showError);
  });
}

/** Load the present user's assets and interrupted uploads. */
async function loadAll() {
  await gallery.reload();
  await resumer.load();
}

async function start() {
  listenForFiles();
  listenForUsers();
  announceResults(store);
  showLimits().catch((problem) => console.warn('the limits are not known', problem));
  try {
    if (!await session.open()) await signIn.renew();
    showUser();
    await loadAll();
  } finally {
    new Watcher(background, store).start();
  }
}

start().catch(showError);
