/** The list of interrupted uploads: how far each came, and the two things that can be done about it. */

import { h, icon } from './dom.js';
import { complain, toast } from './toast.js';
import { bytesInWords, interruptedInWords, percentOf } from './messages.js';

const element = (id) => document.getElementById(id);

export class Unfinished {
  #resumer;
  #confirmed;
  #rows = new Map();
  #chosenFor = null;

  /** `confirmed(item)` asks whether an upload shall really be thrown away. */
  constructor({ resumer, store, confirmed }) {
    this.#resumer = resumer;
    this.#confirmed = confirmed;
    for (const type of ['add', 'change', 'remove']) store.addEventListener(type, ({ detail }) => this.#arrange(detail));
    element('again').addEventListener('change', ({ target }) => {
      const [file] = target.files;
      target.value = '';
      if (file) this.#goOn(this.#chosenFor, file).catch(complain);
    });
  }

  #arrange(item) {
    const wanted = item.upload?.phase === 'interrupted' && this.#resumer.items.includes(item);
    if (wanted === this.#rows.has(item)) return;
    if (wanted) this.#add(item);
    else this.#take(item);
    element('unfinished').hidden = !this.#rows.size;
    const said = [...this.#rows.keys()].map(({ upload }) => `${upload.record.name}: ${interruptedInWords(upload)}`);
    element('unfinished-said').textContent = said.join(' ');
  }

  #add(item) {
    const row = rowOf(item, { goOn: () => this.#askForFile(item).catch(complain), discard: () => this.#discard(item).catch(complain) });
    this.#rows.set(item, row);
    element('unfinished-list').append(row);
  }

  /** Takes a row away; focus that was on it goes to the upload that now runs, else to what stands next. */
  #take(item) {
    const row = this.#rows.get(item);
    const hadFocus = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.#rows.delete(item);
    if (!hadFocus) return;
    const card = item.upload && document.querySelector(`.card[data-asset-id="${item.asset.asset_id}"] .card-tools button`);
    (card || next?.querySelector('button') || element('pick')).focus();
  }

  async #askForFile(item) {
    const file = await this.#resumer.fileAtHand(item);
    if (file) { await this.#goOn(item, file); return; }
    this.#chosenFor = item;
    element('again').click();
  }

  async #goOn(item, file) {
    try {
      await this.#resumer.goOn(item, file);
      toast(item.upload ? `Going on with ${file.name}.` : `${file.name} is sent from the beginning.`);
    } catch (problem) {
      if (!problem.code?.startsWith('other_')) throw problem;
      const note = this.#rows.get(item).querySelector('.unfinished-note');
      note.replaceChildren(icon('alert'), h('span', {}, problem.message));
      note.hidden = false;
    }
  }

  async #discard(item) {
    if (!await this.#confirmed(item)) return;
    await this.#resumer.discard(item);
    toast(`The unfinished upload of ${item.asset.original_filename} was discarded.`);
  }
}

function rowOf({ asset, upload }, { goOn, discard }) {
  const { name } = upload.record;
  const percent = percentOf(upload);
  const facts = upload.ended ? '' : `${bytesInWords(upload.sent)} of ${bytesInWords(upload.total)} have arrived.`;
  const label = upload.record.handle && !upload.ended ? 'Continue' : 'Choose file';
  return h('li', { class: 'unfinished-row', 'data-asset-id': asset.asset_id },
    h('span', { class: 'unfinished-icon' }, icon(asset.asset_type)),
    h('div', { class: 'unfinished-words' },
      h('h3', { class: 'unfinished-name', title: name }, name),
      h('p', { class: 'muted' }, h('strong', {}, interruptedInWords(upload)), facts ? ` ${facts}` : null),
      h('progress', { class: 'bar', max: 100, value: percent, 'aria-label': `${name}: ${percent} % have arrived`, hidden: upload.ended }),
      h('p', { class: 'unfinished-note', role: 'alert', hidden: true })),
    h('div', { class: 'unfinished-tools' },
      button('button is-primary', `${label}, to go on with ${name}`, goOn, icon('upload'), label),
      button('button', `Discard the unfinished upload of ${name}`, discard, 'Discard')));
}

function button(look, label, onclick, ...children) {
  return h('button', { type: 'button', class: look, 'aria-label': label, onclick }, children);
}
