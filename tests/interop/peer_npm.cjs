// Asks the npm package sparkplug-payload to encode and decode. The questions and answers are those
// of peer_pysparkplug.py; whole numbers beyond 2^53 travel as text.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const path = require("node:path");

const packages = createRequire(path.join(process.argv[2], "package.json"));
const codec = packages("sparkplug-payload").get("spBv1.0");

const NAMES = new Map([
  ["DATETIME", "DateTime"], ["UUID", "UUID"], ["UINT8", "UInt8"], ["UINT16", "UInt16"],
  ["UINT32", "UInt32"], ["UINT64", "UInt64"],
]);
const toName = (type) => NAMES.get(type) ?? type[0] + type.slice(1).toLowerCase();

function plain(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value === "object" && "unsigned" in value) {
    return value.toNumber() <= Number.MAX_SAFE_INTEGER ? value.toNumber() : value.toString();
  }
  return value;
}

function decode(question) {
  const payload = codec.decodePayload(Buffer.from(question.decode, "hex"));
  return {
    time: plain(payload.timestamp),
    seq: plain(payload.seq),
    metrics: payload.metrics.map((metric) => ({
      name: metric.name,
      type: (metric.type ?? "").toUpperCase(),
      value: plain(metric.value),
      time: plain(metric.timestamp),
      historical: metric.isHistorical ?? false,
    })),
  };
}

function encode(question) {
  const metrics = question.encode.map((metric) => ({
    name: metric.name,
    alias: metric.alias,
    type: toName(metric.type),
    value: metric.type === "BYTES" ? Buffer.from(metric.value, "hex") : metric.value,
    timestamp: metric.time,
    isHistorical: metric.historical,
  }));
  const payload = { timestamp: question.time, seq: question.seq, metrics };
  return Buffer.from(codec.encodePayload(payload)).toString("hex");
}

const questions = JSON.parse(readFileSync(0, "utf8"));
const answers = questions.map((one) => ("decode" in one ? decode(one) : encode(one)));
process.stdout.write(JSON.stringify(answers));
