// An OPC UA server of another make. Arguments: the folder of the packages, and what to serve as
// JSON: {port, junk, pki, secure, users, nodes, capabilities}. It says {"port": …} once it serves, and obeys
// lines of JSON on its input: {"write": {id: number}}, {"remove": id}, {"add": id}.
const { createRequire } = require("node:module");
const path = require("node:path");
const readline = require("node:readline");

const packages = createRequire(path.join(process.argv[2], "package.json"));
const { OPCUAServer } = packages("node-opcua-server");
const { OPCUACertificateManager } = packages("node-opcua-certificate-manager");
const { SecurityPolicy, MessageSecurityMode } = packages("node-opcua-secure-channel");
const { DataType, VariantArrayType, Variant } = packages("node-opcua-variant");
const { StatusCodes } = packages("node-opcua-status-code");
const { coerceNodeId, coerceExpandedNodeId } = packages("node-opcua-nodeid");
const { coerceLocalizedText, coerceQualifiedName } = packages("node-opcua-data-model");
const { Range, EUInformation } = packages("node-opcua-data-access");

const NAMESPACE = "urn:interop:machine";
const wanted = JSON.parse(process.argv[3]);

// Everything that a variant can hold (OPC UA part 6, section 5.1.2), and two structures.
const VALUES = {
  Boolean: [DataType.Boolean, true],
  SByte: [DataType.SByte, -128],
  Byte: [DataType.Byte, 255],
  Int16: [DataType.Int16, -32768],
  UInt16: [DataType.UInt16, 65535],
  Int32: [DataType.Int32, -2147483648],
  UInt32: [DataType.UInt32, 4294967295],
  Int64: [DataType.Int64, [0x80000000, 1]], // -2^63 + 1
  UInt64: [DataType.UInt64, [0x7fffffff, 0xffffffff]], // 2^63 - 1
  Float: [DataType.Float, 0.1],
  Double: [DataType.Double, 0.1],
  String: [DataType.String, "自動"],
  DateTime: [DataType.DateTime, new Date("2026-11-22T20:00:00.125Z")],
  Guid: [DataType.Guid, "72962b91-fa75-4ae6-8d28-b404dc7daf63"],
  ByteString: [DataType.ByteString, Buffer.from("abc")],
  XmlElement: [DataType.XmlElement, "<a>1</a>"],
  NodeId: [DataType.NodeId, coerceNodeId("ns=1;i=7")],
  ExpandedNodeId: [DataType.ExpandedNodeId, coerceExpandedNodeId("ns=1;i=7")],
  StatusCode: [DataType.StatusCode, StatusCodes.BadOutOfMemory],
  QualifiedName: [DataType.QualifiedName, coerceQualifiedName({ name: "auto", namespaceIndex: 1 })],
  LocalizedText: [DataType.LocalizedText, coerceLocalizedText("running")],
  Range: [DataType.ExtensionObject, new Range({ low: -5, high: 40 })],
  Unit: [DataType.ExtensionObject, new EUInformation({ displayName: "kW", unitId: 4937544 })],
};
const ARRAYS = {
  Doubles: [DataType.Double, [1.5, 2.5, 3.5]],
  Strings: [DataType.String, ["a", "b"]],
  Ranges: [DataType.ExtensionObject, [new Range({ low: 1, high: 2 }), new Range({ low: 3, high: 4 })]],
};

function add(space, parent, id, dataType, value, valueRank) {
  const arrayType = valueRank === 1 ? VariantArrayType.Array : VariantArrayType.Scalar;
  const node = space.addVariable({
    componentOf: parent, nodeId: `s=M.${id}`, browseName: id, valueRank,
    dataType: dataType === DataType.ExtensionObject ? "Structure" : DataType[dataType],
  });
  node.setValueFromSource(new Variant({ dataType, arrayType, value }));
  return node;
}

function populate(server) {
  const addressSpace = server.engine.addressSpace;
  for (let number = 0; number < (wanted.junk ?? 0); number++) {
    addressSpace.registerNamespace(`urn:junk:${number}`);
  }
  const space = addressSpace.registerNamespace(NAMESPACE);
  const machine = space.addObject({ organizedBy: addressSpace.rootFolder.objects, browseName: "M" });
  for (const [id, [type, value]] of Object.entries(VALUES)) add(space, machine, id, type, value, -1);
  for (const [id, [type, value]] of Object.entries(ARRAYS)) add(space, machine, id, type, value, 1);
  const half = add(space, machine, "Half", DataType.Double, 7.5, -1);
  half.setValueFromSource({ dataType: DataType.Double, value: 7.5 }, StatusCodes.UncertainLastUsableValue);
  const broken = add(space, machine, "Broken", DataType.Double, 0, -1);
  broken.setValueFromSource({ dataType: DataType.Double, value: 0 }, StatusCodes.BadSensorFailure);
  for (let number = 0; number < (wanted.nodes ?? 0); number++) {
    add(space, machine, `n${number}`, DataType.Double, number, -1);
  }
  return { space, machine };
}

function obey({ space, machine }, order) {
  for (const [id, value] of Object.entries(order.write ?? {})) {
    space.findNode(`s=M.${id}`).setValueFromSource({ dataType: DataType.Double, value });
  }
  if (order.remove) space.addressSpace.deleteNode(space.findNode(`s=M.${order.remove}`));
  if (order.add) add(space, machine, order.add, DataType.Double, 0.25, -1);
}

async function main() {
  const manager = new OPCUACertificateManager({
    rootFolder: wanted.pki, automaticallyAcceptUnknownCertificate: true,
  });
  const server = new OPCUAServer({
    hostname: "127.0.0.1", host: "127.0.0.1", port: wanted.port ?? 0, resourcePath: "/machine",
    serverCertificateManager: manager, userCertificateManager: manager,
    securityModes: [wanted.secure ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None],
    securityPolicies: wanted.secure
      ? [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss]
      : [SecurityPolicy.None],
    allowAnonymous: !wanted.users,
    serverCapabilities: wanted.capabilities,
    userManager: {
      isValidUser: (name, password) => (wanted.users ?? {})[name] === password,
    },
  });
  await server.initialize();
  const machine = populate(server);
  await server.start();
  process.stdout.write(JSON.stringify({ port: server.endpoints[0].port }) + "\n");
  const orders = readline.createInterface({ input: process.stdin });
  orders.on("line", (line) => {
    obey(machine, JSON.parse(line));
    process.stdout.write("{}\n");
  });
  orders.on("close", () => process.exit(0));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
