// Small pictures that are drawn here: a shape in a colour on a ground, as PNG files.

import { createHash } from "node:crypto";
import { crc32, deflateSync } from "node:zlib";

export const COLOURS = { red: [201, 52, 46], orange: [230, 126, 34], yellow: [240, 196, 25], green: [46, 139, 87], blue: [47, 99, 181], purple: [125, 74, 158], black: [38, 36, 34], white: [244, 242, 238] };
export const GROUNDS = { sand: [226, 211, 180], sky: [168, 206, 232], grey: [150, 152, 158], rose: [238, 190, 200] };
export const SHAPES = {
  disc: (x, y) => x * x + y * y < 0.36,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.52,
  ring: (x, y) => x * x + y * y < 0.42 && x * x + y * y > 0.16,
  cross: (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.18 && Math.max(Math.abs(x), Math.abs(y)) < 0.62,
  triangle: (x, y) => y < 0.5 && y > 1.7 * Math.abs(x) - 0.55,
  stripes: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.6 && Math.floor((x + 1) * 9) % 2 === 0,
};

export const idOf = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 32);

function chunk(type, data) {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(data.length);
  head.write(type, 4, "latin1");
  const end = Buffer.alloc(4);
  end.writeUInt32BE(crc32 ? crc32(Buffer.concat([head.subarray(4), data])) : checksum(Buffer.concat([head.subarray(4), data])));
  return Buffer.concat([head, data, end]);
}

// because: node:zlib has crc32 from 22.2 on
function checksum(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

/** A PNG of `shape` in `colour` on `ground`; `turn` makes pictures of the same words differ. */
export function draw({ shape, colour, ground, turn = 0 }, side = 120) {
  const rows = Buffer.alloc(side * (1 + side * 3));
  const [c, s] = [Math.cos(turn), Math.sin(turn)];
  for (let py = 0; py < side; py++) {
    for (let px = 0; px < side; px++) {
      const [x, y] = [(2 * px) / side - 1, (2 * py) / side - 1];
      const inside = SHAPES[shape](c * x - s * y, s * x + c * y);
      const light = inside ? 1 : 1 - 0.12 * ((y + 1) / 2);
      const rgb = inside ? COLOURS[colour] : GROUNDS[ground];
      rows.set(rgb.map((v) => Math.round(v * light)), py * (1 + side * 3) + 1 + px * 3);
    }
  }
  const header = Buffer.from([0, 0, 0, side, 0, 0, 0, side, 8, 2, 0, 0, 0]);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

/** The i-th of a long list of pictures, no two alike: what it shows, its file, its captions. */
export function picture(i) {
  const of = (all, k) => Object.keys(all)[k % Object.keys(all).length];
  const shown = {
    shape: of(SHAPES, i * 5 + Math.floor(i / 6)),
    colour: of(COLOURS, i * 3 + Math.floor(i / 8)),
    ground: of(GROUNDS, i + Math.floor(i / 4)),
    turn: (i * 0.37) % 1.2,
  };
  const { shape, colour, ground } = shown;
  const captions = [`a ${colour} ${shape}`, `a ${colour} ${shape} on a ${ground} ground`, `picture of a ${shape} in ${colour}`];
  return { shown, captions, words: `${colour} ${shape} ${shape} ${ground}`, bytes: draw(shown), source: `shapes/${String(i).padStart(4, "0")}.png` };
}
