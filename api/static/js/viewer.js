/** The dialog that shows one file: preview or player, renditions, facts and timeline. */

import { pageRenditions, pictureRenditions } from './api.js';
import { canDownload, factsOf } from './card.js';
import { h, icon, iconButton } from './dom.js';
import { describeNotes, describePages, describeReason, describeRendition, describeStatus, formatBytes } from './messages.js';
import { showName } from './name-view.js';
import { mountPlayer } from './player.js';
import { timelineList } from './timeline.js';
import { showError } from './toast.js';

const dialog = document.getElementById('viewer');
const child = (name) => dialog.querySelector(`[data-part="${name}"]`);

export class Viewer {
  #api;
  #urls;
  #actions;
  #item = null;
  #shownKey = '';
  #unmountPlayer = null;
  #gallery;
  #opened = null;

  constructor({ api, store, urls, gallery, actions }) {
    this.#api = api;
    this.#urls = urls;
    this.#actions = actions;
    this.#gallery = gallery;
    child('close').addEventListener('click', () => dialog.close());
    for (const [name, by] of [['previous', -1], ['next', 1]]) child(name).addEventListener('click', () => this.#step(by));
    dialog.addEventListener('keydown', (event) => this.#onKey(event));
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => this.#onClose());
    store.addEventListener('change', ({ detail }) => { if (detail === this.#item) this.#update(); else if (this.#item) this.#showPlace(); });
    store.addEventListener('remove', ({ detail }) => { if (detail === this.#item) dialog.close(); });
  }

  open(item) {
    this.#opened = item;
    dialog.showModal();
    child('close').focus();
    this.#show(item);
  }

  #show(item) {
    this.#item = item;
    this.#shownKey = '';
    this.#update();
  }

  /** Clear the stage. The browser itself returns the focus to the card that was opened; after a step it goes to the one shown last. */
  #onClose() {
    if (dialog.open) return; // The event comes late on a busy machine, when the dialog may show another file already.
    this.#clearStage();
    if (this.#item && this.#item !== this.#opened) this.#gallery.cardOf(this.#item)?.opener.focus();
    this.#item = null;
  }

  /** The files that can be stepped through: those of the gallery that have an asset, in its order. */
  get #row() { return this.#gallery.items.filter(({ asset }) => asset.asset_id); }

  /** Show the file before or after the present one. A button at the end of the row gives its focus away before it is disabled. */
  #step(by) {
    const row = this.#row;
    const wanted = row[row.indexOf(this.#item) + by];
    if (row.includes(this.#item) && wanted) this.#show(wanted);
  }

  /** The arrow keys step, except where they have a meaning of their own: in a player, a list or the timeline. */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('video, audio, select, .side')) return;
    const towardsEnd = document.dir === 'rtl' ? 'ArrowLeft' : 'ArrowRight';
    if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') this.#step(event.key === towardsEnd ? 1 : -1);
  }

  #showPlace() {
    const row = this.#row;
    const at = row.indexOf(this.#item);
    const setDisabled = (name, disabled) => {
      if (disabled && document.activeElement === child(name)) child('close').focus();
      child(name).disabled = disabled;
    };
    setDisabled('previous', at <= 0);
    setDisabled('next', at < 0 || at === row.length - 1);
    child('place').textContent = at < 0 ? '' : `${at + 1} of ${row.length}`;
  }

  #clearStage() {
    this.#unmountPlayer?.();
    this.#unmountPlayer = null;
    child('stage').replaceChildren();
  }

  /** Show the asset's present state. A player that runs is left alone while the status is the same. */
  #update() {
    const { asset } = this.#item;
    showName(child('title'), asset.original_filename);
    this.#showPlace();
    child('facts').textContent = factsOf(asset).join(' · ');
    child('status').textContent = describeStatus(asset.status);
    child('status').dataset.tone = { ready: 'good', rejected: 'bad', failed: 'bad', expired: 'bad' }[asset.status] ?? 'busy';
    const key = `${asset.asset_id} ${asset.status} ${asset.code ?? ''}`;
    this.#showTimeline(asset);
    if (key === this.#shownKey) return;
    this.#shownKey = key;
    this.#clearStage();
    this.#showRenditions(asset);
    child('tools').replaceChildren(...this.#tools());
    this.#fillStage(asset).catch((problem) => {
      child('stage').replaceChildren(stageNote('alert', problem.message));
    });
  }

  #tools() {
    const item = this.#item;
    const button = (name, label, act, extra = '') => h('button', { type: 'button', class: `button ${extra}`, onclick: () => act(item) }, icon(name), label);
    const copy = item.asset.status === 'ready' ? [button('link', 'Copy link', this.#actions.copy)] : [];
    const download = canDownload(item.asset) ? [button('download', 'Download', this.#actions.download)] : [];
    return [...copy, ...download, button('trash', 'Delete', this.#actions.remove, 'is-danger')];
  }

  async #fillStage(asset) {
    const stage = child('stage');
    stage.dataset.kind = asset.asset_type;
    if (asset.status !== 'ready') { stage.append(...unavailableNote(asset)); return; }
    if (asset.asset_type === 'image') await this.#showPicture(stage, asset);
    else if (asset.asset_type === 'document') await this.#showDocument(stage, asset);
    else {
      const unmount = await mountPlayer(stage, asset, this.#urls);
      if (this.#item?.asset.asset_id === asset.asset_id) this.#unmountPlayer = unmount;
      else unmount(); // The dialog was closed while the player was loading.
    }
  }

  async #showPicture(stage, asset) {
    const pictures = pictureRenditions(asset);
    const image = h('img', { class: 'picture', alt: asset.original_filename, sizes: '(max-width: 900px) 100vw, 62vw' });
    stage.append(image);
    image.srcset = await this.#urls.srcset(asset, pictures.map((rendition) => rendition.name));
    return image;
  }

  async #showDocument(stage, asset) {
    const { url } = await this.#urls.of(asset, 'original');
    const link = h('a', { class: 'button is-primary', href: url, target: '_blank', rel: 'noopener noreferrer' }, icon('external'), 'Open the document');
    const notes = describeNotes(asset).map((text) => h('p', { class: 'page-note' }, text));
    if (!pictureRenditions(asset).length) {
      stage.append(stageNote('document', 'The document was scanned and is safe to open.'), ...notes, link);
      return;
    }
    const image = await this.#showPicture(stage, asset);
    if (!image.isConnected) return; // The dialog was closed, or shows another file.
    stage.append(h('div', { class: 'page-bar' }, this.#pager(image, asset), link, ...notes));
  }

  /** Build the buttons that leaf through the pages that have pictures; without such pages nothing but their number. */
  #pager(image, asset) {
    const pages = pageRenditions(asset);
    const shown = h('span', { class: 'page-now', 'aria-live': 'polite' }, describePages(asset));
    if (pages.length < 2) return shown;
    let at = 0;
    const leaf = (by) => async () => {
      at += by;
      update();
      const wanted = pages[at].name;
      const { url } = await this.#urls.of(asset, wanted);
      if (wanted !== pages[at].name) return; // The next press was faster than this URL.
      image.removeAttribute('srcset');
      image.src = url;
    };
    const button = (label, by) => h('button', { type: 'button', class: 'button', onclick: () => leaf(by)().catch(showError) }, label);
    const [previous, next] = [button('Previous page', -1), button('Next page', 1)];
    const update = () => {
      previous.disabled = at === 0;
      next.disabled = at === pages.length - 1;
      shown.textContent = `${describeRendition(pages[at].name)} of ${asset.page_count}`;
      image.alt = `${asset.original_filename}, ${shown.textContent}`;
    };
    update();
    return h('span', { class: 'choice' }, previous, shown, next);
  }

  /** List the renditions, each with a button to copy its link. A picture's sizes can be shown one by one. */
  #showRenditions(asset) {
    const renditions = asset.status === 'ready' ? [...asset.renditions].sort((a, b) => (a.width ?? 0) - (b.width ?? 0)) : [];
    child('renditions-section').hidden = !renditions.length;
    child('renditions').replaceChildren(...renditions.map((rendition) => this.#renditionRow(asset, rendition)));
  }

  #renditionRow(asset, rendition) {
    const size = rendition.width ? `${rendition.width} × ${rendition.height}` : '';
    const facts = [size, formatBytes(rendition.bytes)].filter(Boolean).join(' · ');
    const label = [h('strong', {}, describeRendition(rendition.name)), h('span', {}, facts)];
    const isPicture = asset.asset_type === 'image' && rendition.width;
    const shown = isPicture
      ? h('button', { type: 'button', class: 'rendition-name', title: rendition.content_type, 'aria-pressed': 'false', onclick: (e) => this.#showSize(e.currentTarget, asset, rendition).catch(showError) }, label)
      : h('span', { class: 'rendition-name', title: rendition.content_type }, label);
    const copy = iconButton('link', `Copy the link to ${describeRendition(rendition.name)}`, () => this.#actions.copy(this.#item, rendition.name));
    return h('li', {}, shown, copy);
  }

  /** Show one rendition of a picture, at its own size where it fits. A second press lets the browser choose again. */
  async #showSize(button, asset, rendition) {
    const image = child('stage').querySelector('img');
    const on = button.getAttribute('aria-pressed') === 'false';
    child('renditions').querySelectorAll('[aria-pressed]').forEach((other) => other.setAttribute('aria-pressed', 'false'));
    button.setAttribute('aria-pressed', String(on));
    image.classList.toggle('is-exact', on);
    if (on) {
      image.removeAttribute('srcset');
      image.src = (await this.#urls.of(asset, rendition.name)).url;
    } else {
      image.srcset = await this.#urls.srcset(asset, pictureRenditions(asset).map((one) => one.name));
    }
  }

  async #showTimeline(asset) {
    try {
      const timeline = await this.#api.timeline(asset.asset_id);
      const told = timeline.items.filter((entry) => entry.code !== 'event_sent'); // that is for those who operate it
      if (this.#item?.asset.asset_id === asset.asset_id) child('timeline').replaceChildren(timelineList(told));
    } catch (problem) {
      child('timeline').replaceChildren(h('p', { class: 'muted' }, problem.message));
    }
  }
}

function stageNote(name, text) {
  return h('div', { class: 'stage-note' }, icon(name), h('p', {}, text));
}

/** Build the note for an asset that cannot be shown. */
function unavailableNote(asset) {
  if (!['rejected', 'failed', 'expired'].includes(asset.status)) {
    return [stageNote('clock', 'This file is still on its way. It will appear here as soon as it is ready.')];
  }
  const note = stageNote('alert', asset.status === 'expired' ? 'The file never arrived.' : describeReason(asset));
  note.dataset.tone = 'bad';
  if (asset.detail) note.append(h('p', { class: 'detail' }, asset.detail));
  return [note];
}
