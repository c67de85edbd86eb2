/** One PUT to the storage, told how far it is. */

const STALL_MS = 60_000;

/**
 * Sends `body`; resolves with `{status, etag}`: status 0 when the connection broke, stood still for a minute, or `signal`
 * aborted. `onSent` hears the bytes that have left so far.
 */
export function put(url, headers, body, { signal, onSent }) {
  const request = new XMLHttpRequest(); // fetch tells nothing of how much has been sent.
  const done = new AbortController();
  let watchdog;
  const alive = () => { clearTimeout(watchdog); watchdog = setTimeout(() => request.abort(), STALL_MS); };
  request.open('PUT', url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded }) => { alive(); onSent(loaded); };
  signal.addEventListener('abort', () => request.abort(), { signal: done.signal });
  alive();
  return new Promise((resolve) => {
    request.onloadend = () => {
      clearTimeout(watchdog);
      done.abort();
      resolve({ status: request.status, etag: etagOf(request) });
    };
    if (signal.aborted) request.abort();
    request.send(body);
  });
}

/** To ask for one header that the storage does not expose is an error on the console; to ask for all of them is none. */
function etagOf(request) {
  return /^etag:\s*(.+?)\s*$/im.exec(request.getAllResponseHeaders() ?? '')?.[1] ?? '';
}

/** Whether the file can still be read: a browser tells a changed or vanished one only as a broken connection. */
export async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false; // NotReadableError or NotFoundError: that is the answer.
  }
}
