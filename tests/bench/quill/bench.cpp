// quill's side of fata-bench: reads a number of records, logs so many, answers nanoseconds and bytes per record. What its
// backend does, format and count, is waited for after each round.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quill/Backend.h"
#include "quill/Frontend.h"
#include "quill/LogMacros.h"
#include "quill/Logger.h"
#include "quill/sinks/Sink.h"

// Counts what it is given, as the writers of the other loggers do.
class Counter : public quill::Sink {
public:
    void write_log(quill::MacroMetadata const*, uint64_t, std::string_view, std::string_view, std::string const&,
                   std::string_view, quill::LogLevel, std::string_view, std::string_view,
                   std::vector<std::pair<std::string, std::string>> const*, std::string_view,
                   std::string_view statement) override {
        bytes += statement.size();
        lines += 1;
    }
    void flush_sink() override {}

    // Written by the backend alone, and read once a flush has been waited for.
    uint64_t bytes = 0;
    uint64_t lines = 0;
};

static double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

#define FOUR(...) __VA_ARGS__ __VA_ARGS__ __VA_ARGS__ __VA_ARGS__
#define ROUND(...) \
    for (uint64_t i = 0; i < records / 16; i++) { FOUR(FOUR(__VA_ARGS__)) }

int main(int argc, char** argv) {
    char const* fields = argc > 1 ? argv[1] : "";
    // The backend's default, which sleeps for 100 us when it finds nothing: one that spins, as its own benchmark has it, would
    // take the second processor from whatever is measured in turn.
    quill::Backend::start();
    auto sink = quill::Frontend::create_or_get_sink<Counter>("counter");
    auto* counter = static_cast<Counter*>(sink.get());
    quill::Logger* logger = quill::Frontend::create_or_get_logger("bench", std::move(sink));
    quill::Frontend::preallocate();
    logger->set_log_level(quill::LogLevel::Info);
    bool const filtered = !strcmp(fields, "filtered");
    uint64_t made = 0;
    unsigned long records;
    while (scanf("%lu", &records) == 1) {
        double start = now();
        if (!strcmp(fields, "0")) {
            ROUND(LOG_INFO(logger, "request served");)
        } else if (!strcmp(fields, "1")) {
            ROUND(LOG_INFO(logger, "request served id={}", i);)
        } else if (!strcmp(fields, "3")) {
            ROUND(LOG_INFO(logger, "request served id={} status={} bytes={}", i, ~i, i + 1);)
        } else if (filtered) {
            ROUND(LOG_DEBUG(logger, "request served id={} status={} bytes={}", i, ~i, i + 1);)
        } else {
            fprintf(stderr, "`%s` is none of 0, 1, 3 and filtered\n", fields);
            return 1;
        }
        double nanos = now() - start;
        logger->flush_log();
        made += filtered ? 0 : records / 16 * 16;
        if (counter->lines != made) {
            fprintf(stderr, "%lu records were made, and %lu arrived\n", (unsigned long)made, (unsigned long)counter->lines);
            return 1;
        }
        printf("%f %f\n", nanos / (records / 16 * 16), made ? (double)counter->bytes / made : 0.0);
        fflush(stdout);
    }
    return 0;
}
