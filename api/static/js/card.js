/** One file in the gallery: thumbnail, name, progress and buttons. */

import { pictureRenditions } from './api.js';
import { h, icon, iconButton } from './dom.js';
import { isolated, showName } from './name-view.js';
import { mayHelpToRetry } from './retry.js';
import { drawThumbHash } from './thumbhash.js';
import {
  describeNotes, describePages, describeReason, describeStatus, describeTimeLeft, describeType, formatAge, formatBytes, formatDuration, percentOf,
} from './messages.js';

const THUMBNAILS = ['w320', 'w640'];
/** Widths of a thumbnail on the page, for the browser's choice of a rendition. */
const SIZES = '(max-width: 560px) 92vw, 300px';
const PHASES = {
  waiting: 'Waiting to be sent', paused: 'Paused', asking: 'Preparing', sending: 'Uploading', confirming: 'Checking in', arrived: 'Arrived', broken: 'Not sent',
};
const OFFLINE = 'No connection, paused at';
const CONFIRM_FAILED = 'The file has arrived, but the service has not said so yet. This page goes on asking.';
const STEPS = ['Upload', 'Scan', 'Process', 'Ready'];

export class Card {
  #item;
  #urls;
  #shownKey = '';
  #actions;

  /** `actions` has the functions `open`, `copy`, `download`, `remove`, `retry`, `cancel` and `select`; each takes the item. */
  constructor(item, urls, actions) {
    this.#item = item;
    this.#urls = urls;
    this.#actions = actions;
    this.placeholder = h('canvas', { class: 'thumb-placeholder', width: 1, height: 1, 'aria-hidden': 'true' });
    this.thumb = h('span', { class: 'thumb' }, this.placeholder, h('span', { class: 'thumb-icon' }, icon(item.asset.asset_type)));
    this.opener = h('button', { type: 'button', class: 'card-open', onclick: () => actions.open(item) }, this.thumb);
    this.name = h('h3', { class: 'card-name' });
    this.check = h('input', { type: 'checkbox', onchange: ({ target }) => actions.select(item, target.checked) });
    this.meta = h('p', { class: 'card-meta' });
    this.chip = h('span', { class: 'chip' });
    this.steps = h('ol', { class: 'steps', 'aria-label': 'Progress' }, STEPS.map((step) => h('li', {}, h('span', {}, step))));
    this.bar = h('progress', { class: 'bar', max: 100 });
    this.note = h('p', { class: 'card-note' });
    this.tools = h('div', { class: 'card-tools' });
    this.element = h('li', { class: 'card' },
      h('div', { class: 'card-top' }, this.opener, h('label', { class: 'card-check' }, this.check), this.tools),
      h('div', { class: 'card-body' }, this.name, this.meta, this.note, this.steps, this.bar));
    this.thumb.append(this.chip);
    this.update();
  }

  /** Show the item's present state. Elements are kept, so that focus stays where it is. */
  update() {
    const { asset, upload } = this.#item;
    this.element.dataset.type = asset.asset_type;
    this.element.dataset.status = upload ? 'sending' : asset.status;
    this.element.dataset.assetId = asset.asset_id ?? '';
    this.element.classList.toggle('is-broken', Boolean(upload?.error));
    showName(this.name, asset.original_filename);
    this.check.setAttribute('aria-label', `Select ${isolated(asset.original_filename)}`);
    const facts = factsOf(asset).slice(1).join(' · '); // The icon shows the type.
    this.meta.textContent = upload?.phase === 'sending' ? describeSending(upload) : facts;
    this.opener.disabled = !asset.asset_id;
    this.#showState(asset, upload);
    this.#showButtons(asset, upload);
    this.opener.setAttribute('aria-label', `${isolated(asset.original_filename)}, ${describeType(asset.asset_type)}, ${this.chip.textContent}`);
  }

  /** Show whether the item is selected. */
  setSelected(selected) {
    this.check.checked = selected;
    this.element.classList.toggle('is-selected', selected);
  }

  /** Load the thumbnail. The gallery calls this when the card is visible. */
  async showPicture() {
    const { asset } = this.#item;
    this.#showPlaceholder(asset);
    const names = chooseThumbnails(asset);
    const key = `${asset.asset_id} ${names}`;
    if (!names.length || asset.status !== 'ready' || this.#shownKey === key) return;
    this.#shownKey = key;
    const image = h('img', { class: 'thumb-image', alt: '', decoding: 'async', sizes: SIZES });
    image.onload = () => { image.classList.add('is-loaded'); this.thumb.classList.add('has-picture'); };
    image.onerror = () => { image.remove(); this.#shownKey = ''; this.#urls.forget(asset.asset_id); };
    if (names[0] === 'poster') {
      // The player requests the poster with CORS, and would reject a response cached without the CORS headers.
      image.crossOrigin = 'anonymous';
      image.src = (await this.#urls.of(asset, 'poster')).url;
    } else {
      image.srcset = await this.#urls.srcset(asset, names);
    }
    this.thumb.querySelector('img')?.remove();
    this.placeholder.after(image);
  }

  #showPlaceholder(asset) {
    if (asset.dominant_color) this.thumb.style.backgroundColor = asset.dominant_color;
    if (!asset.placeholder || this.placeholder.dataset.hash === asset.placeholder) return;
    this.placeholder.dataset.hash = asset.placeholder;
    try {
      drawThumbHash(this.placeholder, asset.placeholder);
      this.thumb.classList.add('has-picture');
    } catch (error) {
      console.warn('not a placeholder', asset.asset_id, error); // Only decoration: the type's icon stays.
    }
  }

  #showState(asset, upload) {
    const failed = upload?.error || ['rejected', 'failed', 'expired'].includes(asset.status);
    const step = stepOf(asset, upload);
    this.chip.textContent = upload?.paused ? OFFLINE : upload ? PHASES[upload.phase] : describeStatus(asset.status);
    this.chip.dataset.tone = failed ? 'bad' : upload?.paused || upload?.phase === 'paused' ? 'warn' : asset.status === 'ready' ? 'good' : 'busy';
    this.chip.hidden = asset.status === 'ready' && !upload;
    this.note.textContent = failed ? (upload?.error?.message ?? describeReason(asset)) : upload?.phase === 'arrived' ? CONFIRM_FAILED : describeNotes(asset).join(' ');
    this.note.dataset.tone = failed ? 'bad' : 'plain';
    this.note.hidden = !this.note.textContent;
    this.steps.hidden = failed || asset.status === 'ready';
    [...this.steps.children].forEach((li, i) => {
      li.className = i < step ? 'is-done' : i === step ? 'is-now' : '';
      if (i === step) li.setAttribute('aria-current', 'step'); else li.removeAttribute('aria-current');
    });
    this.#showProgress(asset, upload, failed);
  }

  #showProgress(asset, upload, failed) {
    const percent = upload?.phase === 'sending' || upload?.paused || (upload?.phase === 'paused' && upload.sent) ? percentOf(upload)
      : !upload && asset.status === 'processing' && asset.progress > 0 ? asset.progress : null;
    this.bar.classList.toggle('is-paused', this.chip.dataset.tone === 'warn');
    this.bar.hidden = failed || (asset.status === 'ready' && !upload) || (['waiting', 'paused', 'arrived'].includes(upload?.phase) && percent === null);
    if (percent === null) this.bar.removeAttribute('value'); else this.bar.value = percent;
    const label = percent === null ? this.chip.textContent : `${this.chip.textContent} ${Math.floor(percent)} %`;
    this.bar.setAttribute('aria-label', label);
    if (!failed) this.chip.textContent = label;
  }

  #showButtons(asset, upload) {
    const wanted = listTools(asset, upload);
    if (this.tools.dataset.has === wanted) return;
    this.tools.dataset.has = wanted;
    const focused = this.tools.contains(document.activeElement) ? document.activeElement.dataset.tool : null;
    const name = isolated(asset.original_filename);
    const make = {
      resume: () => iconButton('retry', `Go on with ${name}`, () => this.#actions.retry(this.#item)),
      retry: () => iconButton('retry', `Send ${name} again`, () => this.#actions.retry(this.#item)),
      cancel: () => iconButton('close', `Cancel the upload of ${name}`, () => this.#actions.cancel(this.#item)),
      copy: () => iconButton('link', `Copy a link to ${name}`, () => this.#actions.copy(this.#item)),
      download: () => iconButton('download', `Download ${name}`, () => this.#actions.download(this.#item)),
      remove: () => iconButton('trash', `Delete ${name}`, () => this.#actions.remove(this.#item)),
    };
    this.tools.replaceChildren(...wanted.split(' ').map((tool) => {
      const button = make[tool]();
      button.dataset.tool = tool;
      return button;
    }));
    // A button that is gone took the keyboard's focus with it.
    if (focused) (this.tools.querySelector(`[data-tool=${focused}]`) ?? (this.opener.disabled ? this.tools.firstElementChild : this.opener)).focus();
  }
}

/** Tell whether the owner can have the file back. A recording lies with the webinar service. */
export function canDownload(asset) { return asset.status === 'ready' && !asset.recording_id; }

/** Choose the renditions for the thumbnail: the poster, the small sizes, or else the largest that a tiny picture has. */
function chooseThumbnails(asset) {
  if ((asset.renditions ?? []).some((r) => r.name === 'poster')) return ['poster'];
  const pictures = pictureRenditions(asset);
  const fitting = pictures.filter((r) => THUMBNAILS.includes(r.name));
  return (fitting.length ? fitting : pictures.slice(-1)).map((r) => r.name);
}

/** List the facts shown under the name, the type first. */
export function factsOf(asset) {
  return [
    describeType(asset.asset_type),
    asset.width ? `${asset.width} × ${asset.height}` : '',
    asset.duration_ms ? formatDuration(asset.duration_ms) : '',
    describePages(asset),
    formatBytes(asset.size),
    formatAge(asset.created_at),
  ].filter(Boolean);
}

/** List the buttons that apply now, separated by spaces. */
function listTools(asset, upload) {
  if (upload?.error && !mayHelpToRetry(upload.error)) return 'remove';
  if (upload?.error) return upload.record && upload.error.code !== 'upload_ended' ? 'resume remove' : 'retry remove';
  if (upload) return 'cancel';
  return asset.status === 'ready' ? `copy ${canDownload(asset) ? 'download ' : ''}remove` : 'remove';
}

/** Describe how much was sent and, once it can be estimated, the time left. */
function describeSending({ sent, total, pace }) {
  return [`${formatBytes(sent)} of ${formatBytes(total)}`, pace?.left ? describeTimeLeft(pace.left) : ''].filter(Boolean).join(' · ');
}

function stepOf(asset, upload) {
  if (upload || asset.status === 'pending') return 0;
  return { uploaded: 1, scanning: 1, processing: 2 }[asset.status] ?? 3;
}
