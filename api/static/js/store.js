/** The page's state: one item per file, `{asset, upload}`. `upload` is null once the file has arrived. */

import { filenameOf } from './filename.js';

/** Statuses of an asset whose file has not arrived. */
export const NOT_ARRIVED = new Set(['pending', 'expired']);
/** Phases of an upload that has ended without the service's word. */
const ENDED = new Set(['arrived', 'broken']);

export class Store extends EventTarget {
  #items = new Map();
  #byAsset = new Map();
  #next = 0;

  /** All items, newest first. Files that are sent one after the other stand in that order, the first on top. */
  get items() { return [...this.#items.values()].sort((a, b) => b.since - a.since || a.order - b.order); }

  findByAsset(id) { return this.#byAsset.get(id); }

  /** Add a file that the page is about to send. `since` is when the first file of its row was added. */
  addUpload(file, assetType, since) {
    const upload = { file, phase: 'waiting', sent: 0, total: file.size, error: null };
    return this.#add({ asset: localAsset(file, assetType), upload, since });
  }

  /** Move an item to the end of the row of files that began at `since`. */
  moveTo(item, since) {
    this.#items.delete(item.order);
    item.order = this.#next++;
    item.since = since;
    this.#items.set(item.order, item);
    this.touch(item);
  }

  /** Add an upload that was interrupted before this page was opened. Its asset may be known already. */
  addInterrupted(record, upload) {
    const known = this.#byAsset.get(record.asset_id);
    if (known) { known.upload = upload; this.touch(known); return; }
    const file = { name: record.name, size: record.size, type: record.content_type };
    const asset = { ...localAsset(file, record.asset_type), asset_id: record.asset_id, created_at: record.begun };
    this.#byAsset.set(record.asset_id, this.#add({ asset, upload }));
  }

  /** Tie an upload to the asset that the service created for it. */
  bind(item, assetId) {
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id); // The upload started over with a new asset.
    // A live event may have added the asset before the response to our own request.
    const early = this.#byAsset.get(assetId);
    const isEarly = early && early !== item;
    item.asset = { ...(isEarly ? early : item).asset, asset_id: assetId };
    this.#byAsset.set(assetId, item);
    if (isEarly) this.#drop(early);
    this.touch(item);
  }

  /** Take an asset from the service. A version older than ours is ignored. */
  put(asset) {
    const item = this.#byAsset.get(asset.asset_id);
    if (asset.status === 'deleted') { if (item) this.remove(item); return; }
    if (!item && this.#isAwaited(asset)) return;
    if (!item) { this.#byAsset.set(asset.asset_id, this.#add({ asset, upload: null })); return; }
    if (Date.parse(asset.updated_at) < Date.parse(item.asset.updated_at ?? 0)) return;
    item.asset = asset;
    // The confirmation failed, yet the service knows of the file by the storage's own event.
    if (ENDED.has(item.upload?.phase) && !NOT_ARRIVED.has(asset.status)) item.upload = null;
    this.touch(item);
  }

  /** Tell whether the response to an own request is about to bring this asset. An event that is faster would show it twice. */
  #isAwaited({ status, original_filename: name }) {
    return status === 'pending' && this.items.some(({ asset, upload }) => upload?.phase === 'asking' && asset.original_filename === name);
  }

  /** Notify the listeners that an item changed. */
  touch(item) { this.#notify('change', item); }

  remove(item) { this.#drop(item); }

  #add(parts) {
    const order = this.#next++;
    const item = { since: Date.parse(parts.asset.created_at), ...parts, order };
    this.#items.set(order, item);
    this.#notify('add', item);
    return item;
  }

  #drop(item) {
    this.#items.delete(item.order);
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id);
    this.#notify('remove', item);
  }

  #notify(type, item) { this.dispatchEvent(new CustomEvent(type, { detail: item })); }
}

function localAsset(file, assetType) {
  return {
    asset_id: null, asset_type: assetType, status: 'pending', original_filename: filenameOf(file), size: file.size,
    content_type: file.type, renditions: [], progress: 0, created_at: new Date().toISOString(),
  };
}
