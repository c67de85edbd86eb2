/** The list of interrupted uploads: the progress of each, and buttons to resume or discard it. */

import { h, icon } from './dom.js';
import { describeInterruption, formatBytes, percentOf } from './messages.js';
import { isolated, showName } from './name-view.js';
import { showError, toast } from './toast.js';

const element = (id) => document.getElementById(id);

export class ResumeList {
  #resumer;
  #confirmDiscard;
  #rows = new Map();
  #chosenFor = null;

  /** `confirmDiscard(item)` asks the user, and resolves to true if the upload is to be discarded. */
  constructor({ resumer, store, confirmDiscard }) {
    this.#resumer = resumer;
    this.#confirmDiscard = confirmDiscard;
    for (const type of ['add', 'change', 'remove']) store.addEventListener(type, ({ detail }) => this.#update(detail));
    element('again').addEventListener('change', ({ target }) => {
      const [file] = target.files;
      target.value = '';
      if (file) this.#resume(this.#chosenFor, file).catch(showError);
    });
  }

  #update(item) {
    const wanted = item.upload?.phase === 'interrupted' && this.#resumer.items.includes(item);
    if (wanted === this.#rows.has(item)) return;
    if (wanted) this.#addRow(item);
    else this.#removeRow(item);
    element('unfinished').hidden = !this.#rows.size;
    const lines = [...this.#rows.keys()].map(({ upload }) => `${isolated(upload.record.name)}: ${describeInterruption(upload)}`);
    element('unfinished-said').textContent = lines.join(' ');
  }

  #addRow(item) {
    const row = createRow(item, { resume: () => this.#askForFile(item).catch(showError), discard: () => this.#discard(item).catch(showError) });
    this.#rows.set(item, row);
    element('unfinished-list').append(row);
  }

  /** Remove a row. Focus in it moves to the resumed upload's card, else to the next row. */
  #removeRow(item) {
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
    const file = await this.#resumer.openStoredFile(item);
    if (file) { await this.#resume(item, file); return; }
    this.#chosenFor = item;
    element('again').click();
  }

  async #resume(item, file) {
    try {
      await this.#resumer.resume(item, file);
      toast(item.upload ? `Going on with ${isolated(file.name)}.` : `${isolated(file.name)} is sent from the beginning.`);
    } catch (problem) {
      if (!problem.code?.startsWith('other_')) throw problem;
      const note = this.#rows.get(item).querySelector('.unfinished-note');
      note.replaceChildren(icon('alert'), h('span', {}, problem.message));
      note.hidden = false;
    }
  }

  async #discard(item) {
    if (!await this.#confirmDiscard(item)) return;
    await this.#resumer.discard(item);
    toast(`The unfinished upload of ${item.asset.original_filename} was discarded.`);
  }
}

function createRow({ asset, upload }, { resume, discard }) {
  const name = isolated(upload.record.name);
  const title = h('h3', { class: 'unfinished-name' });
  showName(title, upload.record.name);
  const percent = percentOf(upload);
  const facts = upload.ended ? '' : `${formatBytes(upload.sent)} of ${formatBytes(upload.total)} have arrived.`;
  const label = upload.record.handle && !upload.ended ? 'Continue' : 'Choose file';
  return h('li', { class: 'unfinished-row', 'data-asset-id': asset.asset_id },
    h('span', { class: 'unfinished-icon' }, icon(asset.asset_type)),
    h('div', { class: 'unfinished-words' },
      title,
      h('p', { class: 'muted' }, h('strong', {}, describeInterruption(upload)), facts ? ` ${facts}` : null),
      h('progress', { class: 'bar', max: 100, value: percent, 'aria-label': `${name}: ${percent} % have arrived`, hidden: upload.ended }),
      h('p', { class: 'unfinished-note', role: 'alert', hidden: true })),
    h('div', { class: 'unfinished-tools' },
      button('button is-primary', `${label}, to go on with ${name}`, resume, icon('upload'), label),
      button('button', `Discard the unfinished upload of ${name}`, discard, 'Discard')));
}

function button(look, label, onclick, ...children) {
  return h('button', { type: 'button', class: look, 'aria-label': label, onclick }, children);
}
