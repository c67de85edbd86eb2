/** Draws the summary of the service. Its buttons carry `data-act`; one listener on `#board` handles them all. */

import { h, icon } from '../dom.js';
import { describeStatus, describeType } from '../messages.js';
import { deadLetterPanels } from './dead-letters.js';
import { timelineButton } from './id-buttons.js';
import { describeDependency, formatSpan, formatTime, joinList, pluralize } from './messages.js';
import { patch } from './patch.js';
import { createConsumersTable, createQueuesTable, createStuckTable } from './summary-tables.js';

const element = (id) => document.getElementById(id);
const TITLE = document.title;

/** Show a summary. */
export function drawSummary(summary) {
  const problems = listProblems(summary);
  patch(element('mood'), [icon(problems.length ? 'alert' : 'check')]);
  element('mood').dataset.tone = problems.length ? 'bad' : 'good';
  setText(element('verdict'), problems.length ? `Needs a look: ${joinList(problems)}.` : 'All is well. Nothing needs you.');
  document.title = problems.length ? `(${problems.length}) ${TITLE}` : TITLE;
  patch(element('figures'), figures(summary));
  patch(element('queues'), [createQueuesTable(summary.queues)]);
  patch(element('consumers'), [createConsumersTable(summary.consumers)]);
  patch(element('dead'), deadLetterPanels(summary));
  patch(element('stuck'), [createStuckTable(summary.stuck)]);
  element('board').setAttribute('aria-busy', 'false');
}

/** Show placeholders until the first summary has arrived. */
export function drawSkeleton() {
  const placeholder = () => h('div', { class: 'figure skeleton' }, h('span', { class: 'ghost short' }), h('span', { class: 'ghost' }));
  patch(element('figures'), [placeholder(), placeholder(), placeholder(), placeholder()]);
  for (const id of ['queues', 'consumers', 'stuck']) patch(element(id), [h('div', { class: 'waiting skeleton' }, h('span', { class: 'ghost' }), h('span', { class: 'ghost short' }))]);
}

export function drawFreshness(busy, at) {
  element('refresh').classList.toggle('is-turning', busy);
  if (at) patch(element('fresh'), ['Refreshed at ', h('time', { dateTime: at.toISOString() }, formatTime(at))]);
}

/** Say why a summary did not arrive, how old the shown one is, and when the next try is. Without a problem, hide the note. */
export function drawOutage(problem, at, nextTry) {
  const box = element('outage');
  box.hidden = !problem;
  element('board').classList.toggle('is-old', Boolean(problem));
  if (!problem) { patch(box, []); return; }
  const shown = at ? `What you see is from ${formatTime(at)}. ` : '';
  // Screen readers read the first line once. The second changes with every try, so it is no alert.
  patch(box, [icon('alert'), h('div', {}, h('p', { role: 'alert' }, problem.message), h('p', {}, `${shown}Next try at ${formatTime(nextTry)}.`))]);
}

/** Set an element's text only if it differs, since a live region announces every change. */
export function setText(element, text) { if (element.textContent !== text) element.textContent = text; }

function listProblems({ queues, stuck, consumers }) {
  const dead = sum(queues, 'dead');
  const silent = consumers.filter((one) => !one.alive).length;
  const away = [...new Set(consumers.filter((one) => one.alive).flatMap((one) => one.open_breakers))];
  return [
    dead && pluralize(dead, 'dead letter'),
    stuck.length && pluralize(stuck.length, 'stuck asset'),
    silent && pluralize(silent, 'silent consumer'),
    silent === consumers.length && 'no consumer alive',
    ...away.map((name) => `${describeDependency(name)} away`),
  ].filter(Boolean);
}

function figures({ queues, consumers, oldest_unfinished: oldest }) {
  const [waiting, inFlight, dead] = ['backlog', 'in_flight', 'dead'].map((name) => sum(queues, name));
  return [
    figure('Waiting', waiting.toLocaleString('en'), waiting ? `in ${joinList(queuesWith(queues, 'backlog'))}` : 'nothing is in line'),
    figure('In flight', inFlight.toLocaleString('en'), `${pluralize(consumers.filter((one) => one.alive).length, 'consumer')} alive`),
    figure('Dead letters', dead.toLocaleString('en'), dead ? `in ${joinList(queuesWith(queues, 'dead'))}` : 'none', dead ? 'bad' : null),
    oldest
      ? figure('Oldest unfinished', formatSpan(oldest.seconds), [`${describeType(oldest.asset_type)}, ${describeStatus(oldest.status).toLowerCase()} · `, timelineButton(oldest.asset_id)])
      : figure('Oldest unfinished', '–', 'no asset is at work'),
  ];
}

function figure(name, number, note, tone) {
  return h('div', { class: 'figure', 'data-tone': tone }, h('dt', {}, name), h('dd', { class: 'figure-number' }, number), h('dd', { class: 'figure-note' }, note));
}

function queuesWith(queues, name) { return queues.filter((queue) => queue[name]).map((queue) => queue.name); }
function sum(queues, name) { return queues.reduce((total, queue) => total + queue[name], 0); }
