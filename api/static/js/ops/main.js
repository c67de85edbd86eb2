/** Wires the operator's view together. */

import { Api } from '../api.js';
import { Session } from '../session.js';
import { showError, toast } from '../toast.js';
import { draw, drawEmpty, drawFreshness, drawOutage, say } from './summary-view.js';
import { redriveOrders } from './dead-letters.js';
import { TokenForm, refusal } from './token-form.js';
import { clock } from './messages.js';
import { Redrive } from './redrive.js';
import { Refresher } from './refresher.js';
import { TimelineDialog } from './timeline-dialog.js';

const element = (id) => document.getElementById(id);
const session = new Session('docfliq.operator');
const gate = new TokenForm(session);
const api = new Api(session, () => gate.ask('The token was refused. It may have run out.'), heed);
const refresher = new Refresher({ load, show, fail, begin: () => drawFreshness(true) });
const redrive = new Redrive(api, tell);
const story = new TimelineDialog(api, copy);
let orders = new Map();
let shownAt = null;

/** The summary; asks for another token as long as this one is not an administrator's. */
async function load() {
  for (;;) {
    try {
      return await api.operations();
    } catch (problem) {
      if (problem.status !== 403) throw problem;
      await gate.ask(refusal(session.claims));
    }
  }
}

function show(summary) {
  shownAt = new Date();
  orders = redriveOrders(summary);
  showUser();
  const reading = element('dead').contains(document.activeElement);
  draw(summary);
  if (reading) keepPlace();
  drawFreshness(false, shownAt);
  drawOutage(null);
}

/** The service asks for a pause of so many milliseconds, and gets it. */
function heed(ms) {
  drawOutage({ message: 'The service asks for a pause.' }, shownAt, new Date(Date.now() + ms));
}

/** A button goes when its letters are gone, and takes the focus with it; the heading above stays. */
function keepPlace() {
  if (document.activeElement === document.body) element('dead-title').focus();
}

function fail(problem, next) {
  drawFreshness(false);
  drawOutage(problem, shownAt, next);
}

function showUser() {
  const { sub, role } = session.claims;
  element('who').hidden = !sub;
  say(element('who-name'), [sub, role].filter(Boolean).join(' · '));
}

/** What a redrive came to stays on the page until the next one. */
function tell(words) {
  element('outcome').textContent = `${words.slice(0, -1)} at ${clock(new Date())}.`;
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

function act({ target }) {
  const button = target.closest('[data-act]');
  if (!button) return;
  const { act: what, id, order } = button.dataset;
  if (what === 'story') story.open(id);
  if (what === 'copy') copy(id);
  if (what === 'redrive' && orders.has(order)) redrive.open(orders.get(order));
}

function listen() {
  element('board').addEventListener('click', act);
  element('refresh').addEventListener('click', () => refresher.now());
  element('sign-out').addEventListener('click', signOut);
  element('redrive').addEventListener('close', keepPlace);
  addEventListener('hashchange', () => { if (session.useAddressToken()) location.reload(); });
}

function signOut() {
  session.forget();
  new Session().forget();
  location.reload();
}

/** A token for operators, from the address, of this tab, or of the front page when that is an administrator's. */
function hasToken() {
  if (session.useAddressToken() || session.token) return true;
  const front = new Session();
  if (front.claims.role !== 'admin') return false;
  session.use(front.token);
  return true;
}

async function start() {
  listen();
  drawEmpty();
  if (hasToken()) element('board').hidden = false;
  else await gate.ask();
  await refresher.run();
}

start().catch(showError);
