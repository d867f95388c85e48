/* A Modbus server of libmodbus with known values, for reading them with other programs.
 *
 *   libmodbus_server tcp          prints the port, serves one connection after another
 *   libmodbus_server rtu DEVICE   unit 17 at 115200 8N1
 *
 * Holding and input registers hold the same, and the layout is told in test_libmodbus.py. Values
 * are stored by libmodbus's own functions where it has one. Requests to write are counted, not
 * followed; the count is input register 900.
 */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNIT = 17, WORDS = 1000, BITS = 64, WRITES = 900 };

static void put_bytes(uint16_t *at, const uint8_t *bytes, int words)
{
    for (int i = 0; i < words; i++)
        at[i] = (uint16_t) (bytes[2 * i] << 8 | bytes[2 * i + 1]);
}

static void put_bits64(uint16_t *at, uint64_t bits)
{
    MODBUS_SET_INT64_TO_INT16(at, 0, (int64_t) bits);
}

/* The same 64 bits with bytes swapped in each word, words swapped, or both. */
static void put_orders64(uint16_t *at, uint64_t bits)
{
    uint16_t words[4];
    put_bits64(words, bits);
    for (int i = 0; i < 4; i++) {
        uint16_t swapped = (uint16_t) (words[i] << 8 | words[i] >> 8);
        at[i] = words[i];
        at[4 + 3 - i] = words[i];
        at[8 + i] = swapped;
        at[12 + 3 - i] = swapped;
    }
}

/* ABCD, CDAB, BADC and DCBA as they go over the wire. libmodbus's functions of these names are not
 * used: in 3.1 they swap according to the computer that they run on. */
static void put_orders32(uint16_t *at, uint32_t bits)
{
    uint8_t a = (uint8_t) (bits >> 24), b = (uint8_t) (bits >> 16);
    uint8_t c = (uint8_t) (bits >> 8), d = (uint8_t) bits;
    const uint8_t orders[4][4] = {{a, b, c, d}, {c, d, a, b}, {b, a, d, c}, {d, c, b, a}};
    for (int i = 0; i < 4; i++)
        put_bytes(at + 2 * i, orders[i], 2);
}

static void fill(uint16_t *words, uint8_t *bits)
{
    double pi = 3.141592653589793;
    uint64_t pi_bits;
    memcpy(&pi_bits, &pi, sizeof pi_bits);

    words[0] = 54321;
    words[1] = (uint16_t) -12345;
    words[2] = 0x80FF;                        /* high byte -128, low byte -1 */
    words[3] = 0x3E00;                        /* 1.5 as float16 */
    words[4] = 0x1234;                        /* BCD */
    words[5] = 0x8421;                        /* bits 0, 5, 10 and 15 */
    put_orders32(words + 10, (uint32_t) -1234567890);
    put_orders32(words + 20, 0x40490FDB);     /* float32 nearest to pi */
    put_orders32(words + 30, 0x12345678);     /* BCD */
    modbus_set_float(-273.15f, words + 38);   /* libmodbus's own order: low word first */
    put_orders64(words + 40, (uint64_t) -1234567890123456789LL);
    put_orders64(words + 60, pi_bits);
    put_orders64(words + 80, 0x1234567890123456ULL);
    put_bytes(words + 100, (const uint8_t *) "MC-100\0\0", 4);
    put_bytes(words + 104, (const uint8_t *) "\x89\xC1\x8D\x48", 2); /* Shift_JIS */
    for (int i = 0; i < 300; i++)
        words[200 + i] = (uint16_t) (i * 191);
    for (int i = 0; i < BITS; i++)
        bits[i] = i % 3 == 0 || i % 7 == 0;
}

static int is_write(int function)
{
    return function == 5 || function == 6 || (function >= 15 && function <= 23 && function != 17);
}

static int serve(modbus_t *context, modbus_mapping_t *mapping)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(context, query);
        if (length < 0) {
            if (errno == ECONNRESET || errno == EIO || errno == EBADF)
                return 0;
            continue;
        }
        if (length == 0)
            continue;
        int function = query[modbus_get_header_length(context)];
        if (is_write(function)) {
            mapping->tab_input_registers[WRITES]++;
            modbus_reply_exception(context, query, MODBUS_EXCEPTION_ILLEGAL_FUNCTION);
        } else if (modbus_reply(context, query, length, mapping) < 0 && errno == EPIPE) {
            return 0;
        }
    }
}

static int over_tcp(modbus_mapping_t *mapping)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int listener = context == NULL ? -1 : modbus_tcp_listen(context, 4);
    if (listener < 0 || getsockname(listener, (struct sockaddr *) &address, &size) < 0)
        return 1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(context, &listener) >= 0) {
        serve(context, mapping);
        modbus_close(context);
    }
    return 1;
}

static int over_serial(const char *device, modbus_mapping_t *mapping)
{
    modbus_t *context = modbus_new_rtu(device, 115200, 'N', 8, 1);
    if (context == NULL || modbus_set_slave(context, UNIT) < 0 || modbus_connect(context) < 0)
        return 1;
    printf("0\n");
    fflush(stdout);
    return serve(context, mapping);
}

int main(int count, char **words)
{
    modbus_mapping_t *mapping = modbus_mapping_new(BITS, BITS, WORDS, WORDS);
    if (mapping == NULL || count < 2)
        return 2;
    fill(mapping->tab_registers, mapping->tab_bits);
    fill(mapping->tab_input_registers, mapping->tab_input_bits);
    if (strcmp(words[1], "tcp") == 0)
        return over_tcp(mapping);
    return count > 2 ? over_serial(words[2], mapping) : 2;
}
