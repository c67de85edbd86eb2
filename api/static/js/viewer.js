/** The dialog that shows one file: the thing itself, its renditions, its facts and its story. */

import { pictureRenditions } from './api.js';
import { factsOf } from './card.js';
import { h, icon, iconButton } from './dom.js';
import { mountPlayer } from './player.js';
import { timelineList } from './timeline.js';
import { complain } from './toast.js';
import { bytesInWords, reasonInWords, renditionInWords, statusInWords } from './messages.js';

const dialog = document.getElementById('viewer');
const part = (name) => dialog.querySelector(`[data-part="${name}"]`);

export class Viewer {
  #api;
  #urls;
  #actions;
  #item = null;
  #shows = '';
  #takeDown = null;
  #opener = null;

  constructor({ api, store, urls, actions }) {
    this.#api = api;
    this.#urls = urls;
    this.#actions = actions;
    part('close').addEventListener('click', () => dialog.close());
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => this.#closed());
    store.addEventListener('change', ({ detail }) => { if (detail === this.#item) this.#update(); });
    store.addEventListener('remove', ({ detail }) => { if (detail === this.#item) dialog.close(); });
  }

  open(item) {
    this.#item = item;
    this.#shows = '';
    this.#opener = document.activeElement;
    dialog.showModal();
    part('close').focus();
    this.#update();
  }

  #closed() {
    this.#clearStage();
    this.#item = null;
    if (this.#opener?.isConnected) this.#opener.focus();
  }

  #clearStage() {
    this.#takeDown?.();
    this.#takeDown = null;
    part('stage').replaceChildren();
  }

  /** Shows the asset as it is now; what plays is left alone while nothing about it has changed. */
  #update() {
    const { asset } = this.#item;
    part('title').textContent = asset.original_filename;
    part('facts').textContent = factsOf(asset).join(' · ');
    part('status').textContent = statusInWords(asset.status);
    part('status').dataset.tone = { ready: 'good', rejected: 'bad', failed: 'bad', expired: 'bad' }[asset.status] ?? 'busy';
    const shows = `${asset.asset_id} ${asset.status} ${asset.code ?? ''}`;
    this.#tellStory(asset);
    if (shows === this.#shows) return;
    this.#shows = shows;
    this.#clearStage();
    this.#showRenditions(asset);
    part('tools').replaceChildren(...this.#tools());
    this.#fillStage(asset).catch((problem) => {
      part('stage').replaceChildren(stageNote('alert', problem.message));
    });
  }

  #tools() {
    const item = this.#item;
    const button = (name, label, act, extra = '') => h('button', { type: 'button', class: `button ${extra}`, onclick: () => act(item) }, icon(name), label);
    const copy = item.asset.status === 'ready' ? [button('link', 'Copy link', this.#actions.copy)] : [];
    return [...copy, button('trash', 'Delete', this.#actions.remove, 'is-danger')];
  }

  async #fillStage(asset) {
    const stage = part('stage');
    stage.dataset.kind = asset.asset_type;
    if (asset.status !== 'ready') { stage.append(...waitingOrRefused(asset)); return; }
    if (asset.asset_type === 'image') await this.#showPicture(stage, asset);
    else if (asset.asset_type === 'document') await this.#showDocument(stage, asset);
    else {
      const takeDown = await mountPlayer(stage, asset, this.#urls);
      if (this.#item?.asset.asset_id === asset.asset_id) this.#takeDown = takeDown;
      else takeDown(); // The dialog was closed while the player was being made ready.
    }
  }

  async #showPicture(stage, asset) {
    const pictures = pictureRenditions(asset);
    const image = h('img', { class: 'picture', alt: asset.original_filename, sizes: '(max-width: 900px) 100vw, 62vw' });
    stage.append(image);
    image.srcset = await this.#urls.srcset(asset, pictures.map((rendition) => rendition.name));
  }

  async #showDocument(stage, asset) {
    const { url } = await this.#urls.of(asset, 'original');
    stage.append(stageNote('document', 'The document was scanned and is safe to open.'),
      h('a', { class: 'button is-primary', href: url, target: '_blank', rel: 'noopener noreferrer' }, icon('external'), 'Open the document'));
  }

  /** What was made of the file. A picture's sizes can be looked at one by one; each has its own link to copy. */
  #showRenditions(asset) {
    const renditions = asset.status === 'ready' ? [...asset.renditions].sort((a, b) => (a.width ?? 0) - (b.width ?? 0)) : [];
    part('renditions-section').hidden = !renditions.length;
    part('renditions').replaceChildren(...renditions.map((rendition) => this.#renditionRow(asset, rendition)));
  }

  #renditionRow(asset, rendition) {
    const size = rendition.width ? `${rendition.width} × ${rendition.height}` : '';
    const facts = [size, bytesInWords(rendition.bytes)].filter(Boolean).join(' · ');
    const label = [h('strong', {}, renditionInWords(rendition.name)), h('span', {}, facts)];
    const isPicture = asset.asset_type === 'image' && rendition.width;
    const shown = isPicture
      ? h('button', { type: 'button', class: 'rendition-name', title: rendition.content_type, 'aria-pressed': 'false', onclick: (e) => this.#showSize(e.currentTarget, asset, rendition).catch(complain) }, label)
      : h('span', { class: 'rendition-name', title: rendition.content_type }, label);
    const copy = iconButton('link', `Copy the link to ${renditionInWords(rendition.name)}`, () => this.#actions.copy(this.#item, rendition.name));
    return h('li', {}, shown, copy);
  }

  /** Shows exactly one size of a picture, at its own size where it fits; a second press lets the browser choose again. */
  async #showSize(button, asset, rendition) {
    const image = part('stage').querySelector('img');
    const on = button.getAttribute('aria-pressed') === 'false';
    part('renditions').querySelectorAll('[aria-pressed]').forEach((other) => other.setAttribute('aria-pressed', 'false'));
    button.setAttribute('aria-pressed', String(on));
    image.classList.toggle('is-exact', on);
    if (on) {
      image.removeAttribute('srcset');
      image.src = (await this.#urls.of(asset, rendition.name)).url;
    } else {
      image.srcset = await this.#urls.srcset(asset, pictureRenditions(asset).map((one) => one.name));
    }
  }

  async #tellStory(asset) {
    try {
      const answer = await this.#api.timeline(asset.asset_id);
      if (this.#item?.asset.asset_id === asset.asset_id) part('timeline').replaceChildren(timelineList(answer.items));
    } catch (problem) {
      part('timeline').replaceChildren(h('p', { class: 'muted' }, problem.message));
    }
  }
}

function stageNote(name, text) {
  return h('div', { class: 'stage-note' }, icon(name), h('p', {}, text));
}

/** What stands in the stage of an asset that cannot be shown. */
function waitingOrRefused(asset) {
  if (!['rejected', 'failed', 'expired'].includes(asset.status)) {
    return [stageNote('clock', 'This file is still on its way. It will appear here as soon as it is ready.')];
  }
  const note = stageNote('alert', asset.status === 'expired' ? 'The file never arrived.' : reasonInWords(asset));
  note.dataset.tone = 'bad';
  if (asset.detail) note.append(h('p', { class: 'detail' }, asset.detail));
  return [note];
}
