"""An OPC UA server with structures of its own, in a process of its own: prints its port.

In the test's process the library would know the types, and read them where we want to.
"""

import asyncio
import sys

from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

NAMESPACE = "urn:tests:structures"


async def main():
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/machine")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for number in range(int(sys.argv[1])):
        await server.register_namespace(f"urn:junk:{number}")
    index = await server.register_namespace(NAMESPACE)
    mode = await new_enum(server, index, "Mode", ["manual", "auto"])
    axis, _ = await new_struct(
        server,
        index,
        "Axis",
        [
            new_struct_field("Name", ua.VariantType.String),
            new_struct_field("Load", ua.VariantType.Double),
        ],
    )
    pose, _ = await new_struct(
        server,
        index,
        "Pose",
        [
            new_struct_field("X", ua.VariantType.Float),
            new_struct_field("Error", ua.VariantType.UInt16, optional=True),
            new_struct_field("Spare", ua.VariantType.UInt16, optional=True),
            new_struct_field("Mode", mode),
            new_struct_field("Axes", axis, array=True),
        ],
    )
    known = await server.load_data_type_definitions()
    axes = [known["Axis"](Name=f"A{number}", Load=number + 0.5) for number in range(3)]
    value = known["Pose"](X=1.5, Error=None, Spare=7, Mode=known["Mode"](1), Axes=axes)
    machine = await server.nodes.objects.add_object(index, "M")
    await machine.add_variable(ua.NodeId("M.pose", index), "pose", value, datatype=pose.nodeid)
    await server.start()
    sys.stdout.write(f"{server.bserver.port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


asyncio.run(main())
