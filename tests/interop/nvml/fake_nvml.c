/* A stand-in for libnvidia-ml.so.1, so that GPU probing is tested on machines without a GPU.

   It reads "key value" lines from the file named by FAKE_NVML on every call:
     boards N        how many GPUs there are; init_error CODE makes nvmlInit fail
     error CODE      every call on a board returns this nvmlReturn_t (15: lost, 3: not supported)
     error_CALL CODE the same for one call, named without its nvmlDeviceGet prefix
     total, used (bytes), busy (%), heat, slowdown, shutdown (C), power, limit (mW), energy (mJ),
     clock (MHz), throttle (mask), ecc (uncorrectable errors), remap_pending,
     xids N, xid CODE (so many XID events so far, each of this code),
     pid, pid_memory (bytes; -1: not told), pid_busy (%): one process that computes on the board,
     sleep_ms (each board call takes this long) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long wide;

static int started;
static int told_xids;

static double value(const char *key, double otherwise) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[64];
    double found = otherwise, number;
    while (file && fscanf(file, "%63s %lf", name, &number) == 2)
        if (!strcmp(name, key)) found = number;
    if (file) fclose(file);
    return found;
}

static int board_call(const char *call) {
    char key[80];
    if (!started) return 1;
    usleep(1000 * (unsigned)value("sleep_ms", 0));
    snprintf(key, sizeof key, "error_%s", call);
    return (int)value(key, value("error", 0));
}

#define BOARD_CALL(call) do { int code_ = board_call(call); if (code_) return code_; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    int code = (int)value("init_error", 0);
    (void)flags;
    if (!code) started = 1;
    return code;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { started = 0; return 0; }
const char *nvmlErrorString(int code) { (void)code; return "fake NVML error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!started) return 1;
    if (value("error_Count", 0)) return (int)value("error_Count", 0);
    *count = (unsigned)value("boards", 1);
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **board) {
    BOARD_CALL("HandleByIndex");
    *board = (void *)(long)(index + 1);
    return 0;
}
int nvmlDeviceGetName(void *board, char *text, unsigned size) {
    (void)board;
    BOARD_CALL("Name");
    snprintf(text, size, "Fake Edge GPU");
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *board, wide *memory) {
    (void)board;
    BOARD_CALL("MemoryInfo");
    memory[0] = (wide)value("total", 8e9);
    memory[2] = (wide)value("used", 1e9);
    memory[1] = memory[0] - memory[2];
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *board, unsigned *rates) {
    (void)board;
    BOARD_CALL("UtilizationRates");
    rates[0] = (unsigned)value("busy", 10);
    rates[1] = 5;
    return 0;
}
int nvmlDeviceGetTemperature(void *board, unsigned sensor, unsigned *heat) {
    (void)board, (void)sensor;
    BOARD_CALL("Temperature");
    *heat = (unsigned)value("heat", 45);
    return 0;
}
int nvmlDeviceGetTemperatureV(void *board, int *reading) {
    (void)board;
    BOARD_CALL("Temperature");
    reading[2] = (int)value("heat", 45);
    return 0;
}
int nvmlDeviceGetPowerUsage(void *board, unsigned *power) {
    (void)board;
    BOARD_CALL("PowerUsage");
    *power = (unsigned)value("power", 20000);
    return 0;
}
int nvmlDeviceGetEnforcedPowerLimit(void *board, unsigned *limit) {
    (void)board;
    BOARD_CALL("EnforcedPowerLimit");
    *limit = (unsigned)value("limit", 60000);
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *board, wide *energy) {
    (void)board;
    BOARD_CALL("TotalEnergyConsumption");
    *energy = (wide)value("energy", 123456);
    return 0;
}
int nvmlDeviceGetClockInfo(void *board, unsigned kind, unsigned *clock) {
    (void)board, (void)kind;
    BOARD_CALL("ClockInfo");
    *clock = (unsigned)value("clock", 1500);
    return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *board, wide *reasons) {
    (void)board;
    BOARD_CALL("Throttle");
    *reasons = (wide)value("throttle", 0);
    return 0;
}
int nvmlDeviceGetTemperatureThreshold(void *board, unsigned which, unsigned *heat) {
    (void)board;
    BOARD_CALL("TemperatureThreshold");
    *heat = (unsigned)(which == 0 ? value("shutdown", 100) : value("slowdown", 95));
    return 0;
}
int nvmlDeviceGetTotalEccErrors(void *board, unsigned kind, unsigned counter, wide *count) {
    (void)board, (void)kind, (void)counter;
    BOARD_CALL("TotalEccErrors");
    *count = (wide)value("ecc", 0);
    return 0;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *board, unsigned *pending) {
    (void)board;
    BOARD_CALL("RetiredPagesPendingStatus");
    *pending = 0;
    return 0;
}
int nvmlDeviceGetRemappedRows(void *board, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
    (void)board;
    BOARD_CALL("RemappedRows");
    *corrected = *uncorrected = *failed = 0;
    *pending = (unsigned)value("remap_pending", 0);
    return 0;
}

struct process { unsigned pid; wide memory; unsigned instance, compute; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *board, unsigned *count, struct process *list) {
    unsigned room = *count;
    double memory = value("pid_memory", 0);
    (void)board;
    BOARD_CALL("ComputeRunningProcesses");
    *count = value("pid", 0) > 0;
    if (*count > room) return 7;
    if (*count) {
        list[0].pid = (unsigned)value("pid", 0);
        list[0].memory = memory < 0 ? (wide)-1 : (wide)memory;
        list[0].instance = list[0].compute = 0xffffffffu;
    }
    return 0;
}

struct sample { unsigned pid; wide at_us; unsigned sm, memory, encoder, decoder; };

int nvmlDeviceGetProcessUtilization(void *board, struct sample *list, unsigned *count, wide since) {
    unsigned room = *count;
    (void)board, (void)since;
    BOARD_CALL("ProcessUtilization");
    if (value("pid", 0) <= 0) return 6;
    *count = 1;
    if (!list || !room) return 7;
    memset(list, 0, sizeof *list);
    list[0].pid = (unsigned)value("pid", 0);
    list[0].at_us = 1;
    list[0].sm = (unsigned)value("pid_busy", 0);
    return 0;
}

struct event { void *board; wide kind, data; unsigned instance, compute; };

int nvmlEventSetCreate(void **set) { *set = &told_xids; return 0; }
int nvmlEventSetFree(void *set) { (void)set; return 0; }
int nvmlDeviceRegisterEvents(void *board, wide kinds, void *set) {
    (void)board, (void)kinds, (void)set;
    BOARD_CALL("RegisterEvents");
    return 0;
}
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned wait_ms) {
    (void)set, (void)wait_ms;
    if (told_xids >= (int)value("xids", 0)) return 10;
    told_xids++;
    memset(event, 0, sizeof *event);
    event->kind = 8;
    event->data = (wide)value("xid", 79);
    return 0;
}
