// Plays HLS with hls.js or Shaka, and keeps what is handed to the browser's decoders.
const appended = [];
const { addSourceBuffer } = MediaSource.prototype;
MediaSource.prototype.addSourceBuffer = function (type) {
  const buffer = addSourceBuffer.call(this, type);
  buffer.kept = { type, parts: [] };
  appended.push(buffer.kept);
  return buffer;
};
const { appendBuffer } = SourceBuffer.prototype;
SourceBuffer.prototype.appendBuffer = function (data) {
  const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  this.kept.parts.push({ offset: this.timestampOffset, bytes: bytes.slice() });
  return appendBuffer.call(this, data);
};

const video = document.createElement('video');
document.body.append(video);
const failures = [];
video.addEventListener('error', () => failures.push(`video: ${video.error?.message}`));

const happened = (name) => new Promise((resolve) => video.addEventListener(name, resolve, { once: true }));

async function load(player, address) {
  if (player === 'hls.js') {
    const hls = new Hls({ maxBufferLength: 60 });
    hls.on(Hls.Events.ERROR, (_, error) => error.fatal && failures.push(`hls.js: ${error.type} ${error.details}`));
    const parsed = new Promise((resolve) => hls.on(Hls.Events.MANIFEST_PARSED, resolve));
    hls.loadSource(address);
    hls.attachMedia(video);
    await parsed;
    return;
  }
  const shaken = new shaka.Player();
  await shaken.attach(video);
  shaken.configure({ streaming: { bufferingGoal: 60 } });
  shaken.addEventListener('error', (event) => failures.push(`Shaka: ${event.detail.code}`));
  await shaken.load(address);
}

// Play on from a time until the picture and the clock have moved.
async function playFrom(time) {
  video.playbackRate = 4;
  video.muted = true;
  if (time !== null) {
    const sought = happened('seeked');
    video.currentTime = time;
    await sought;
  }
  const begin = video.currentTime;
  await video.play();
  while (video.currentTime < begin + 0.5 && !video.ended) {
    await Promise.race([happened('timeupdate'), happened('ended')]);
    if (failures.length) throw new Error(failures.join('; '));
  }
  video.pause();
  return { begin, reached: video.currentTime };
}

// Tell the brightness of the upper half of the picture that is shown at a time.
async function brightnessAt(time) {
  const sought = happened('seeked');
  const shown = new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  video.currentTime = time;
  await sought;
  await Promise.race([shown, new Promise((resolve) => setTimeout(resolve, 2000))]);
  const canvas = new OffscreenCanvas(16, 16);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 16, 16);
  const { data } = context.getImageData(0, 0, 16, 7);
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) sum += data[at];
  return sum / (data.length / 4);
}

async function encoded(bytes) {
  return (await new Response(bytes).blob().then((blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  }))).split(',')[1];
}

async function kept() {
  return Promise.all(appended.map(async ({ type, parts }) => ({
    type,
    parts: await Promise.all(parts.map(async ({ offset, bytes }) => [offset, await encoded(bytes)])),
  })));
}

const state = () => ({ failures, duration: video.duration, width: video.videoWidth, height: video.videoHeight });
