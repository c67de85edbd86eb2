/** The tables of queues, consumers and stuck assets. */

import { h, icon } from '../dom.js';
import { describeStage, describeStatus, describeType } from '../messages.js';
import { assetId } from './id-buttons.js';
import { count, describeDependency, describeQueue, span, describeState } from './messages.js';
import { nothing, table } from './table.js';

const CONSUMER = /^(.+)-(\d+)-[0-9a-f]{6}$/;

export function queuesTable(queues) {
  const columns = [{ title: 'Queue' }, ...['Waiting', 'In flight', 'Dead'].map((title) => ({ title, kind: 'number' }))];
  return table('Messages in each queue', columns, queues.map((queue) => ({
    key: queue.name,
    cells: [twoLines(queue.name, describeQueue(queue.name)), number(queue.backlog), number(queue.in_flight), number(queue.dead, 'bad')],
  })));
}

function number(value, tone) {
  return h('span', { 'data-tone': value ? tone ?? 'some' : 'none' }, value.toLocaleString('en'));
}

export function consumersTable(consumers) {
  if (!consumers.length) return nothing(icon('alert'), 'No consumer is alive', 'Nothing is processed until one starts. What comes in waits in its queue.');
  const columns = [{ title: 'Consumer' }, { title: 'State' }, { title: 'Open breakers' }, { title: 'Holds', kind: 'number' }];
  return table('Consumers that gave a sign of life', columns, consumers.map((consumer) => ({
    key: consumer.id,
    tone: consumer.alive ? null : 'silent',
    cells: [nameOf(consumer), stateOf(consumer), breakersOf(consumer), number(consumer.in_flight)],
  })));
}

function nameOf({ id, started_at: began }) {
  const [, host, process] = CONSUMER.exec(id) ?? [null, id, ''];
  const age = `up ${span((Date.now() - Date.parse(began)) / 1000)}`;
  return h('div', { title: id }, twoLines(host.split('.')[0], process ? `process ${process}, ${age}` : age));
}

function stateOf({ alive, phase, seconds }) {
  const [words, tone] = alive ? PHASES[phase] ?? [phase, null] : ['Silent', 'bad'];
  return h('div', {}, h('span', { class: 'chip', 'data-tone': tone }, words), h('span', { class: 'under' }, `seen ${span(seconds)} ago`));
}

const PHASES = { running: ['Running', 'good'], draining: ['Draining', null] };

function breakersOf({ open_breakers: open }) {
  if (!open.length) return h('span', { class: 'muted' }, 'none');
  return h('span', { class: 'chips' }, open.map((name) => h('span', { class: 'chip', 'data-tone': 'bad' }, `${describeDependency(name)} away`)));
}

export function stuckTable(stuck) {
  if (!stuck.length) return nothing(icon('check'), 'Nothing is stuck', 'Every stage has given news within the last ten minutes.');
  const columns = [{ title: 'Asset' }, { title: 'Type' }, { title: 'Stage' }, { title: 'Attempt' }, { title: 'No news for', kind: 'number' }];
  return table('Assets without news for ten minutes', columns, stuck.map((one) => ({
    key: `${one.asset_id} ${one.stage}`,
    cells: [
      assetId(one.asset_id),
      twoLines(describeType(one.asset_type), describeStatus(one.status)),
      twoLines(describeStage(one.stage), describeState(one.state)),
      twoLines(String(one.attempt), one.nudges ? count(one.nudges, 'reminder') : ''),
      span(one.seconds),
    ],
  })));
}

function twoLines(words, under) {
  return h('div', { class: 'two' }, h('span', { class: 'over' }, words), under ? h('span', { class: 'under' }, under) : null);
}
