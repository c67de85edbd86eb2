/** The operator's view: creates the parts and connects them. */

import { Api } from '../api.js';
import { Session } from '../session.js';
import { showError, toast } from '../toast.js';
import { letterOrders } from './dead-letters.js';
import { LetterAction } from './letter-action.js';
import { LettersDialog } from './letters-dialog.js';
import { formatTime } from './messages.js';
import { Refresher } from './refresher.js';
import { drawFreshness, drawOutage, drawSkeleton, drawSummary, setText } from './summary-view.js';
import { TimelineDialog } from './timeline-dialog.js';
import { TokenForm, explainRefusal } from './token-form.js';

const element = (id) => document.getElementById(id);
const session = new Session('docfliq.operator');
const tokenForm = new TokenForm(session);
const api = new Api(session, () => tokenForm.ask('The token was refused. It may have run out.'), showPause);
const refresher = new Refresher({ load, begin: () => drawFreshness(true), show: showSummary, fail: showFailure });
const letterAction = new LetterAction(api, showResult);
const lettersDialog = new LettersDialog(api, (order) => letterAction.open(order, 'discard'));
const timelineDialog = new TimelineDialog(api, copy);
let orders = new Map();
let shownAt = null;

/** Load the summary. Ask for another token while the present one is not an administrator's. */
async function load() {
  for (;;) {
    try {
      return await api.operations();
    } catch (problem) {
      if (problem.status !== 403) throw problem;
      await tokenForm.ask(explainRefusal(session.claims));
    }
  }
}

function showSummary(summary) {
  shownAt = new Date();
  orders = letterOrders(summary);
  showUser();
  const hadFocus = element('dead').contains(document.activeElement);
  drawSummary(summary);
  if (hadFocus) restoreFocus();
  drawFreshness(false, shownAt);
  drawOutage(null);
}

/** Show that the service asked for a pause of `ms` milliseconds, which the API client keeps. */
function showPause(ms) {
  drawOutage({ message: 'The service asks for a pause.' }, shownAt, new Date(Date.now() + ms));
}

/** Focus the heading if the focus was on a button that is gone, together with its dead letters. */
function restoreFocus() {
  if (document.activeElement === document.body && !document.querySelector('dialog[open]')) element('dead-title').focus();
}

function showFailure(problem, next) {
  drawFreshness(false);
  drawOutage(problem, shownAt, next);
}

function showUser() {
  const { sub, role } = session.claims;
  element('who').hidden = !sub;
  setText(element('who-name'), [sub, role].filter(Boolean).join(' · '));
}

/** Show the result of a redrive or discard, until the next one replaces it. */
function showResult(text) {
  element('outcome').textContent = `${text.slice(0, -1)} at ${formatTime(new Date())}.`;
  refresher.now();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast('Copied.');
  } catch {
    toast(`It could not be copied: ${text}`, 'bad'); // no permission, or no secure context
  }
}

function handleClick({ target }) {
  const button = target.closest('[data-act]');
  if (!button) return;
  const { act: action, id, order } = button.dataset;
  if (action === 'story') timelineDialog.open(id);
  if (action === 'copy') copy(id);
  if (action === 'redrive' && orders.has(order)) letterAction.open(orders.get(order), 'redrive');
  if (action === 'read' && orders.has(order)) lettersDialog.open(orders.get(order));
}

function addListeners() {
  for (const id of ['board', 'letters']) element(id).addEventListener('click', handleClick);
  element('refresh').addEventListener('click', () => refresher.now());
  element('sign-out').addEventListener('click', signOut);
  for (const id of ['letter-action', 'letters']) element(id).addEventListener('close', restoreFocus);
  addEventListener('hashchange', () => { if (session.useAddressToken()) location.reload(); });
}

function signOut() {
  session.forget();
  new Session().forget();
  location.reload();
}

/** Find a token: in the address, in this tab, or the gallery's if it is an administrator's. */
function findToken() {
  if (session.useAddressToken() || session.token) return true;
  const gallery = new Session();
  if (gallery.claims.role !== 'admin') return false;
  session.use(gallery.token);
  return true;
}

async function start() {
  addListeners();
  drawSkeleton();
  if (findToken()) element('board').hidden = false;
  else await tokenForm.ask();
  await refresher.run();
}

start().catch(showError);
