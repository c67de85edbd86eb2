/** The tables of queues, consumers and stuck assets. */

import { h, icon } from '../dom.js';
import { describeStage, describeStatus, describeType } from '../messages.js';
import { assetIdButtons } from './id-buttons.js';
import { describeDependency, describeQueue, describeState, formatSpan, pluralize } from './messages.js';
import { emptyNote, table } from './table.js';

/** A consumer's id: host, process id, random suffix. */
const CONSUMER_ID = /^(.+)-(\d+)-[0-9a-f]{6}$/;

export function createQueuesTable(queues) {
  const columns = [{ title: 'Queue' }, ...['Waiting', 'In flight', 'Dead'].map((title) => ({ title, kind: 'number' }))];
  return table('Messages in each queue', columns, queues.map((queue) => ({
    key: queue.name,
    cells: [twoLines(queue.name, describeQueue(queue.name)), number(queue.backlog), number(queue.in_flight), number(queue.dead, 'bad')],
  })));
}

function number(value, tone) {
  return h('span', { 'data-tone': value ? tone ?? 'some' : 'none' }, value.toLocaleString('en'));
}

export function createConsumersTable(consumers) {
  if (!consumers.length) return emptyNote(icon('alert'), 'No consumer is alive', 'Nothing is processed until one starts. What comes in waits in its queue.');
  const columns = [{ title: 'Consumer' }, { title: 'State' }, { title: 'Open breakers' }, { title: 'Holds', kind: 'number' }];
  return table('Consumers that gave a sign of life', columns, consumers.map((consumer) => ({
    key: consumer.id,
    tone: consumer.alive ? null : 'silent',
    cells: [nameCell(consumer), stateCell(consumer), breakersCell(consumer), number(consumer.in_flight)],
  })));
}

function nameCell({ id, started_at: startedAt }) {
  const [, host, process] = CONSUMER_ID.exec(id) ?? [null, id, ''];
  const age = `up ${formatSpan((Date.now() - Date.parse(startedAt)) / 1000)}`;
  return h('div', { title: id }, twoLines(host.split('.')[0], process ? `process ${process}, ${age}` : age));
}

function stateCell({ alive, phase, seconds }) {
  const [text, tone] = alive ? PHASES[phase] ?? [phase, null] : ['Silent', 'bad'];
  return h('div', {}, h('span', { class: 'chip', 'data-tone': tone }, text), h('span', { class: 'under' }, `seen ${formatSpan(seconds)} ago`));
}

const PHASES = { running: ['Running', 'good'], draining: ['Draining', null] };

function breakersCell({ open_breakers: open }) {
  if (!open.length) return h('span', { class: 'muted' }, 'none');
  return h('span', { class: 'chips' }, open.map((name) => h('span', { class: 'chip', 'data-tone': 'bad' }, `${describeDependency(name)} away`)));
}

export function createStuckTable(stuck) {
  if (!stuck.length) return emptyNote(icon('check'), 'Nothing is stuck', 'Every stage has given news within the last ten minutes.');
  const columns = [{ title: 'Asset' }, { title: 'Type' }, { title: 'Stage' }, { title: 'Attempt' }, { title: 'No news for', kind: 'number' }];
  return table('Assets without news for ten minutes', columns, stuck.map((one) => ({
    key: `${one.asset_id} ${one.stage}`,
    cells: [
      assetIdButtons(one.asset_id),
      twoLines(describeType(one.asset_type), describeStatus(one.status)),
      twoLines(describeStage(one.stage), describeState(one.state)),
      twoLines(String(one.attempt), one.nudges ? pluralize(one.nudges, 'reminder') : ''),
      formatSpan(one.seconds),
    ],
  })));
}

function twoLines(text, under) {
  return h('div', { class: 'two' }, h('span', { class: 'over' }, text), under ? h('span', { class: 'under' }, under) : null);
}
