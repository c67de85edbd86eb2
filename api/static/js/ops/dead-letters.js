/** The dead letters: a panel for each queue that has some, with a row for each reason. */

import { h, icon } from '../dom.js';
import { assetIdButtons, messageIdButton } from './id-buttons.js';
import { describeDeath, formatSpan, pluralize } from './messages.js';
import { emptyNote, table } from './table.js';

const COLUMNS = [{ title: 'Reason' }, { title: 'Number', kind: 'number' }, { title: 'Oldest', kind: 'number' }, { title: 'For example' }, { title: 'Actions', kind: 'action' }];

/** Create the panels, or one that says that there are no dead letters. */
export function deadLetterPanels({ queues, at }) {
  const panels = queues.filter((queue) => queue.dead).map((queue) => panel(queue, Date.parse(at)));
  if (panels.length) return panels;
  return [h('div', { class: 'panel', 'data-key': 'none' }, emptyNote(icon('check'), 'No dead letters', 'Every message was handled, or still will be.'))];
}

/** Map each button's `data-order` to its order: `{queue, number, group, at}`. */
export function letterOrders({ queues, at }) {
  const orders = queues.flatMap((queue) => [
    [orderKey(queue), { queue: queue.name, number: queue.dead, group: null, at }],
    ...queue.dead_by_reason.map((group) => [orderKey(queue, group), { queue: queue.name, number: sizeOf(queue, group), group, at }]),
  ]);
  return new Map(orders);
}

function panel(queue, now) {
  const groups = queue.dead_by_reason;
  const several = groups.length > 1 || queue.dead_looked_at < queue.dead;
  return h('section', { class: 'panel', 'data-key': queue.name, 'aria-labelledby': `dead-${queue.name}` },
    h('header', { class: 'panel-head' },
      h('h3', { id: `dead-${queue.name}` }, queue.name, h('span', { class: 'muted' }, describeCount(queue))),
      several ? letterButton('redrive', orderKey(queue), 'Redrive all', `Redrive all dead letters of ${queue.name}`) : null),
    groups.length
      ? table(`Dead letters of ${queue.name} by reason`, COLUMNS, groups.map((group) => row(queue, group, now)))
      : emptyNote(icon('clock'), 'Somebody else is looking at them', 'To look at a dead letter is to hold it for a moment. Their reasons come with the next refresh.'));
}

function row(queue, group, now) {
  const { code, reason } = group;
  return {
    key: orderKey(queue, group),
    cells: [
      h('div', { class: 'reason' }, h('span', { class: 'over' }, describeDeath(code)), h('code', {}, code), reason ? h('span', { class: 'words' }, reason) : null),
      group.count.toLocaleString('en'),
      formatSpan((now - Date.parse(group.oldest_at)) / 1000),
      group.example_asset_id ? labeledId('asset', assetIdButtons(group.example_asset_id)) : labeledId('message', messageIdButton(group.example_message_id)),
      h('span', { class: 'two-buttons' },
        letterButton('read', orderKey(queue, group), 'Read', `Read dead letters of ${queue.name}: ${describeDeath(code)}`),
        letterButton('redrive', orderKey(queue, group), 'Redrive', `Redrive ${pluralize(group.count, 'dead letter')} of ${queue.name}: ${describeDeath(code)}`)),
    ],
  };
}

function labeledId(kind, id) { return h('span', { class: 'named' }, h('span', { class: 'muted' }, kind), id); }

function letterButton(action, order, text, label) {
  return h('button', { type: 'button', class: 'button is-small', 'data-act': action, 'data-order': order, 'aria-label': label }, icon(action === 'read' ? 'read' : 'return'), text);
}

function describeCount({ dead, dead_looked_at: seen }) {
  return seen && seen < dead ? `${pluralize(dead, 'letter')}, ${seen.toLocaleString('en')} looked at` : pluralize(dead, 'letter');
}

/** Return the number of messages in a group, or null if not all dead letters of the queue were read. */
function sizeOf(queue, group) { return queue.dead_looked_at < queue.dead ? null : group.count; }

function orderKey(queue, group) { return group ? [queue.name, group.code, group.reason].join('|') : queue.name; }
