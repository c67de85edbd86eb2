/** Draws the summary. What it draws carries `data-act`; whoever listens does so on the board. */

import { h, icon } from '../dom.js';
import { consumersTable, queuesTable, stuckTable } from './summary-tables.js';
import { deadLetterPanels } from './dead-letters.js';
import { timelineButton } from './id-buttons.js';
import { patch } from './patch.js';
import { clock, count, describeDependency, listed, span } from './messages.js';
import { describeStatus, describeType } from '../messages.js';

const element = (id) => document.getElementById(id);
const TITLE = document.title;

/** Shows everything that the summary tells. */
export function draw(summary) {
  const worries = worriesOf(summary);
  patch(element('mood'), [icon(worries.length ? 'alert' : 'check')]);
  element('mood').dataset.tone = worries.length ? 'bad' : 'good';
  say(element('verdict'), worries.length ? `Needs a look: ${listed(worries)}.` : 'All is well. Nothing needs you.');
  document.title = worries.length ? `(${worries.length}) ${TITLE}` : TITLE;
  patch(element('figures'), figures(summary));
  patch(element('queues'), [queuesTable(summary.queues)]);
  patch(element('consumers'), [consumersTable(summary.consumers)]);
  patch(element('dead'), deadLetterPanels(summary));
  patch(element('stuck'), [stuckTable(summary.stuck)]);
  element('board').setAttribute('aria-busy', 'false');
}

/** Before the first answer: the shape of what will come. */
export function drawEmpty() {
  const ghost = () => h('div', { class: 'figure skeleton' }, h('span', { class: 'ghost short' }), h('span', { class: 'ghost' }));
  patch(element('figures'), [ghost(), ghost(), ghost(), ghost()]);
  for (const id of ['queues', 'consumers', 'stuck']) patch(element(id), [h('div', { class: 'waiting skeleton' }, h('span', { class: 'ghost' }), h('span', { class: 'ghost short' }))]);
}

export function drawFreshness(busy, at) {
  element('refresh').classList.toggle('is-turning', busy);
  if (at) patch(element('fresh'), ['Refreshed at ', h('time', { dateTime: at.toISOString() }, clock(at))]);
}

/** Says that the answer did not come, what is shown instead, and when it is asked for again; null: it came. */
export function drawOutage(problem, at, next) {
  const box = element('outage');
  box.hidden = !problem;
  element('board').classList.toggle('is-old', Boolean(problem));
  if (!problem) { patch(box, []); return; }
  const shown = at ? `What you see is from ${clock(at)}. ` : '';
  // The first line is read out when it comes; the times change with every try, and are not.
  patch(box, [icon('alert'), h('div', {}, h('p', { role: 'alert' }, problem.message), h('p', {}, `${shown}Next try at ${clock(next)}.`))]);
}

/** Text that is read out when it changes, and only then. */
export function say(place, words) { if (place.textContent !== words) place.textContent = words; }

function worriesOf({ queues, stuck, consumers }) {
  const dead = sum(queues, 'dead');
  const silent = consumers.filter((one) => !one.alive).length;
  const away = [...new Set(consumers.filter((one) => one.alive).flatMap((one) => one.open_breakers))];
  return [
    dead && count(dead, 'dead letter'),
    stuck.length && count(stuck.length, 'stuck asset'),
    silent && count(silent, 'silent consumer'),
    silent === consumers.length && 'no consumer alive',
    ...away.map((name) => `${describeDependency(name)} away`),
  ].filter(Boolean);
}

function figures({ queues, consumers, oldest_unfinished: oldest }) {
  const [waiting, held, dead] = ['backlog', 'in_flight', 'dead'].map((name) => sum(queues, name));
  return [
    figure('Waiting', waiting.toLocaleString('en'), waiting ? `in ${listed(where(queues, 'backlog'))}` : 'nothing is in line'),
    figure('In flight', held.toLocaleString('en'), `${count(consumers.filter((one) => one.alive).length, 'consumer')} alive`),
    figure('Dead letters', dead.toLocaleString('en'), dead ? `in ${listed(where(queues, 'dead'))}` : 'none', dead ? 'bad' : null),
    oldest
      ? figure('Oldest unfinished', span(oldest.seconds), [`${describeType(oldest.asset_type)}, ${describeStatus(oldest.status).toLowerCase()} · `, timelineButton(oldest.asset_id)])
      : figure('Oldest unfinished', '–', 'no asset is at work'),
  ];
}

function figure(name, number, note, tone) {
  return h('div', { class: 'figure', 'data-tone': tone }, h('dt', {}, name), h('dd', { class: 'figure-number' }, number), h('dd', { class: 'figure-note' }, note));
}

function where(queues, name) { return queues.filter((queue) => queue[name]).map((queue) => queue.name); }
function sum(queues, name) { return queues.reduce((total, queue) => total + queue[name], 0); }
