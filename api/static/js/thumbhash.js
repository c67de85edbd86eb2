/** Draws a ThumbHash: about 25 bytes that hold a blurred preview of a picture. Format: https://github.com/evanw/thumbhash */

const LONG_SIDE = 32;

/** Decode a base64 ThumbHash onto `canvas`. Return the picture's aspect ratio; throw RangeError for other bytes. */
export function drawThumbHash(canvas, base64) {
  const hash = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  if (hash.length < 6 || !(hash[3] & 7)) throw new RangeError('not a ThumbHash');
  const head = readHeader(hash);
  const width = Math.round(head.ratio > 1 ? LONG_SIDE : LONG_SIDE * head.ratio);
  const height = Math.round(head.ratio > 1 ? LONG_SIDE / head.ratio : LONG_SIDE);
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(new ImageData(decodePixels(hash, head, width, height), width, height), 0, 0);
  return head.ratio;
}

/** Read the header in the first five or six bytes: averages, scales and numbers of cosine terms. */
function readHeader(hash) {
  const first = hash[0] | (hash[1] << 8) | (hash[2] << 16);
  const second = hash[3] | (hash[4] << 8);
  const hasAlpha = Boolean(first >> 23);
  const landscape = Boolean(second >> 15);
  const terms = second & 7;
  const most = hasAlpha ? 5 : 7;
  return {
    hasAlpha,
    l: (first & 63) / 63, p: ((first >> 6) & 63) / 31.5 - 1, q: ((first >> 12) & 63) / 31.5 - 1,
    a: hasAlpha ? (hash[5] & 15) / 15 : 1,
    scale: {
      l: ((first >> 18) & 31) / 31, p: (((second >> 3) & 63) / 63) * 1.25, q: (((second >> 9) & 63) / 63) * 1.25,
      a: hasAlpha ? (hash[5] >> 4) / 15 : 0,
    },
    lx: Math.max(3, landscape ? most : terms), ly: Math.max(3, landscape ? terms : most),
    ratio: landscape ? most / terms : terms / most,
  };
}

/** List the pairs of frequencies of a channel, in the order of its stored terms. */
function frequencies(nx, ny) {
  const pairs = [];
  for (let cy = 0; cy < ny; cy += 1) for (let cx = cy ? 0 : 1; cx * ny < nx * (ny - cy); cx += 1) pairs.push([cx, cy]);
  return pairs;
}

function readChannels(hash, head) {
  let index = 0;
  const start = head.hasAlpha ? 6 : 5;
  const read = (nx, ny, scale) => frequencies(nx, ny).map(([cx, cy]) => {
    const nibble = (hash[start + (index >> 1)] >> ((index & 1) << 2)) & 15;
    index += 1;
    return { cx, cy, value: (nibble / 7.5 - 1) * scale };
  });
  return {
    l: read(head.lx, head.ly, head.scale.l), p: read(3, 3, head.scale.p), q: read(3, 3, head.scale.q),
    a: head.hasAlpha ? read(5, 5, head.scale.a) : [],
  };
}

function decodePixels(hash, head, width, height) {
  const waves = readChannels(hash, head);
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 4) {
      const at = (name) => waves[name].reduce(
        (sum, { cx, cy, value }) => sum + 2 * value * cosine(x, width, cx) * cosine(y, height, cy), head[name],
      );
      rgba.set(toRgba(at('l'), at('p'), at('q'), at('a')), i);
    }
  }
  return rgba;
}

function cosine(position, size, frequency) { return Math.cos((Math.PI / size) * (position + 0.5) * frequency); }

/** Convert LPQ (luminance, yellow–blue, red–green) to 8-bit RGBA. */
function toRgba(l, p, q, a) {
  const b = l - (2 / 3) * p;
  const r = (3 * l - b + q) / 2;
  return [r, r - q, b, a].map((channel) => 255 * channel);
}
