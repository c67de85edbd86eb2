/** Records of multipart uploads, kept in IndexedDB so that an upload survives a reload or a crash of the browser. */

const DATABASE = 'docfliq';
const OBJECT_STORE = 'uploads';
/** Milliseconds for which a record is kept. The storage drops parts after a day, so an older record is useless. */
const RETENTION_MS = 7 * 24 * 3600 * 1000;
/** Bytes at the beginning of a file that are digested to recognize it when it is chosen again. Reading them takes milliseconds. */
const DIGEST_BYTES = 8 * 1024 * 1024;

/**
 * Build a record: `{asset_id, owner, name, size, last_modified, digest, asset_type, content_type, begun, sent, handle}`.
 * `handle` is the browser's FileSystemFileHandle, or null. With a handle the file is read again without a file dialog.
 */
export async function createRecord(file, { plan, owner, request, handle }) {
  return {
    asset_id: plan.asset_id, owner, name: file.name, size: file.size, last_modified: file.lastModified,
    digest: await digestOf(file), asset_type: request.asset_type, content_type: request.content_type,
    begun: new Date().toISOString(), sent: 0, handle,
  };
}

/** Compare a file with a record. Return `name`, `size`, `time` or `content` for the first difference, '' for none. */
export async function findDifference(file, record) {
  if (file.name !== record.name) return 'name';
  if (file.size !== record.size) return 'size';
  if (file.lastModified !== record.last_modified) return 'time';
  return await digestOf(file) === record.digest ? '' : 'content';
}

async function digestOf(file) {
  const bytes = await crypto.subtle.digest('SHA-256', await file.slice(0, DIGEST_BYTES).arrayBuffer());
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export async function saveRecord(record) { await transact('readwrite', (records) => records.put(record)); }

/** Store how many bytes have arrived. The list shows them when the service cannot be reached. */
export async function saveProgress(assetId, sent) {
  await transact('readwrite', (records) => {
    const request = records.get(assetId);
    request.onsuccess = () => { if (request.result) records.put({ ...request.result, sent }); };
    return request;
  });
}

export async function deleteRecord(assetId) { await transact('readwrite', (records) => records.delete(assetId)); }

/** List the records of one owner, oldest first. Records past the retention time are deleted. */
export async function listRecords(owner) {
  const all = await transact('readonly', (records) => records.getAll());
  const isOld = (record) => Date.now() - Date.parse(record.begun) > RETENTION_MS;
  await Promise.all(all.filter(isOld).map((record) => deleteRecord(record.asset_id)));
  return all.filter((record) => record.owner === owner && !isOld(record)).sort((a, b) => Date.parse(a.begun) - Date.parse(b.begun));
}

/** Run `work` under this upload's lock. Run `otherwise` instead if another tab holds the lock. */
export function withUploadLock(assetId, work, otherwise) {
  return navigator.locks.request(lockName(assetId), { ifAvailable: true }, (lock) => (lock ? work() : otherwise()));
}

/** Tell whether a tab is sending this upload. */
export async function isLocked(assetId) {
  const { held } = await navigator.locks.query();
  return held.some((lock) => lock.name === lockName(assetId));
}

function lockName(assetId) { return `docfliq upload ${assetId}`; }

async function transact(mode, operate) {
  const database = await openDatabase();
  try {
    const transaction = database.transaction(OBJECT_STORE, mode);
    const request = operate(transaction.objectStore(OBJECT_STORE));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(OBJECT_STORE, { keyPath: 'asset_id' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
