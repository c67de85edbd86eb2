/** One PUT to the storage, with progress. */

/** Milliseconds without progress after which a PUT is aborted. */
const STALL_MS = 60_000;

/**
 * Send `body` and resolve with `{status, etag}`. Status 0 means a broken or stalled connection, an answer of the storage
 * that asks to repeat the PUT, or that `signal` aborted.
 * `onSent` is called with the bytes sent so far.
 */
export function put(url, headers, body, { signal, onSent }) {
  const request = new XMLHttpRequest(); // fetch reports no upload progress.
  const done = new AbortController();
  let watchdog;
  const restartWatchdog = () => { clearTimeout(watchdog); watchdog = setTimeout(() => request.abort(), STALL_MS); };
  request.open('PUT', url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded }) => { restartWatchdog(); onSent(loaded); };
  signal.addEventListener('abort', () => request.abort(), { signal: done.signal });
  restartWatchdog();
  return new Promise((resolve) => {
    request.onloadend = () => {
      clearTimeout(watchdog);
      done.abort();
      resolve({ status: asksToRepeat(request) ? 0 : request.status, etag: etagOf(request) });
    };
    if (signal.aborted) request.abort();
    request.send(body);
  });
}

/** Tell whether S3 says that the same PUT may succeed: another one was under way, or the bytes came too slowly. */
function asksToRepeat({ status, responseText }) {
  return status === 409 || (status === 400 && responseText.includes('<Code>RequestTimeout</Code>'));
}

/** Read the ETag from all headers: to read a single header that the storage does not expose logs an error on the console. */
function etagOf(request) {
  return /^etag:\s*(.+?)\s*$/im.exec(request.getAllResponseHeaders() ?? '')?.[1] ?? '';
}

/** Tell whether the file can still be read. The browser reports a changed or deleted file only as a broken connection. */
export async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false; // NotReadableError or NotFoundError: the expected failures.
  }
}
