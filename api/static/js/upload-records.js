/** What this browser remembers of uploads in parts, so that a reload or a crash ends none. One record each, in IndexedDB. */

const NAME = 'docfliq';
const RECORDS = 'uploads';
/** The storage forgets parts after a day; a week is longer than any reason to know of them. */
const OLDEST_MS = 7 * 24 * 3600 * 1000;
/** Bytes of the beginning that must be the same when a file is chosen again: read in some milliseconds. */
const DIGESTED = 8 * 1024 * 1024;

/**
 * A record: `{asset_id, owner, name, size, last_modified, digest, asset_type, content_type, begun, sent, handle}`. `handle` is a
 * FileSystemFileHandle where the browser gave one, and reads the file again without a question.
 */
export async function recordOf(file, { plan, owner, request, handle }) {
  return {
    asset_id: plan.asset_id, owner, name: file.name, size: file.size, last_modified: file.lastModified,
    digest: await digestOf(file), asset_type: request.asset_type, content_type: request.content_type,
    begun: new Date().toISOString(), sent: 0, handle,
  };
}

/** What tells the file from the one of `record`: `name`, `size`, `time`, `content`, or '' when it is the same. */
export async function differenceOf(file, record) {
  if (file.name !== record.name) return 'name';
  if (file.size !== record.size) return 'size';
  if (file.lastModified !== record.last_modified) return 'time';
  return await digestOf(file) === record.digest ? '' : 'content';
}

async function digestOf(file) {
  const bytes = await crypto.subtle.digest('SHA-256', await file.slice(0, DIGESTED).arrayBuffer());
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export async function keep(record) { await transact('readwrite', (records) => records.put(record)); }

/** Notes how much of an upload is there, for when the service cannot be asked. */
export async function note(assetId, sent) {
  await transact('readwrite', (records) => {
    const found = records.get(assetId);
    found.onsuccess = () => { if (found.result) records.put({ ...found.result, sent }); };
    return found;
  });
}

export async function forget(assetId) { await transact('readwrite', (records) => records.delete(assetId)); }

/** The records of one owner, oldest first; those that nobody can use any more are forgotten on the way. */
export async function recordsOf(owner) {
  const all = await transact('readonly', (records) => records.getAll());
  const isOld = (record) => Date.now() - Date.parse(record.begun) > OLDEST_MS;
  await Promise.all(all.filter(isOld).map((record) => forget(record.asset_id)));
  return all.filter((record) => record.owner === owner && !isOld(record)).sort((a, b) => Date.parse(a.begun) - Date.parse(b.begun));
}

/** Does `work` while no other tab sends this upload; without doing it returns `otherwise()` when one does. */
export function alone(assetId, work, otherwise) {
  return navigator.locks.request(lockOf(assetId), { ifAvailable: true }, (lock) => (lock ? work() : otherwise()));
}

/** Whether some tab is sending this upload. */
export async function isHeld(assetId) {
  const { held } = await navigator.locks.query();
  return held.some((lock) => lock.name === lockOf(assetId));
}

function lockOf(assetId) { return `docfliq upload ${assetId}`; }

async function transact(mode, act) {
  const database = await opened();
  try {
    const transaction = database.transaction(RECORDS, mode);
    const request = act(transaction.objectStore(RECORDS));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(RECORDS, { keyPath: 'asset_id' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
