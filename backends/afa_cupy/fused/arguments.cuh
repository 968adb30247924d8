// What the kernel takes, and what a block of threads shares.
//
// Compiled with `REAL`, the type of tokens; `PADDED` and `VALUE_PADDED`, the channels that a tile has
// room for; `ROWS` and `COLUMNS`, queries and keys of a tile that a thread evaluates; and what is
// known of the problem: `CAUSAL`, `MASKED`, `WEIGHTING`, `POWER` (−1 where weights take a logarithm),
// `DIRECTIONS` (in which correlated keys have influence), `TEMPERATURE`, `TWO_SIDED`, `EXITS`.

typedef REAL real;

#define LANES 16  // threads that share the rows of a tile
#define GROUPS 8  // of such threads
#define THREADS (LANES * GROUPS)
#define BLOCK_Q (ROWS * GROUPS)
#define BLOCK_K (COLUMNS * LANES)
#define CHANNELS (VALUE_PADDED / LANES)  // of values that a thread sums
#define QUERY_STRIDE (PADDED + 4)  // the rows of a column lie in different banks
#define KEY_STRIDE ((PADDED > VALUE_PADDED ? PADDED : VALUE_PADDED) + 4)
#define WEIGHT_STRIDE (BLOCK_K + 4)
#define SIDES (DIRECTIONS > 0 ? DIRECTIONS : 1)
#define BOUNDS (2 + SIDES)  // numbers of a key block: its first and last time, its least levels

enum { GAUSSIAN, RATIONAL, STUDENT, UNIFORM };

struct __align__(16) Vector {
    real at[4];
};

// Arrays of one head.
struct Arguments {
    const real *query, *query_square, *noise, *key, *value, *key_square;
    const double *query_times, *query_level, *missing, *key_times, *key_level, *bounds, *far;
    const unsigned char *mask;
    long long queries, keys, noise_row, mask_row;
    int width, value_width;  // channels of tokens
    double share;  // the logarithm of the share of a row's weight that may be left out
};

// Parameters of a head.
struct Model {
    real decay, process, measurement, scale, dof, inverse_temperature, unit, powers;
};

struct Shared {
    real query[BLOCK_Q * QUERY_STRIDE];
    real token[BLOCK_K * KEY_STRIDE];  // keys, and then values
    real weight[BLOCK_Q * WEIGHT_STRIDE];  // times E
    double query_time[BLOCK_Q], query_level[SIDES * BLOCK_Q];
    double key_time[BLOCK_K], key_level[SIDES * BLOCK_K];
    double threshold[GROUPS];
    real query_square[BLOCK_Q], noise[BLOCK_Q];
    real key_square[BLOCK_K];
    // where the keys of a tile are earlier than its queries, or later: E = e f, Σ = a + e² g
    real e[BLOCK_Q], a[BLOCK_Q], query_influence[BLOCK_Q];
    real f[BLOCK_K], g[BLOCK_K], key_influence[BLOCK_K];
};

static_assert(ROWS * CHANNELS <= 64, "a thread has more sums than bits");
static_assert(sizeof(Shared) <= SHARED_BYTES, "shared memory is smaller than a tile");

extern __shared__ __align__(16) unsigned char shared_memory[];

// A block of queries, and what a thread knows of it.
struct Block {
    Arguments given;
    Model model;
    Shared *shared;
    long long first;  // query
    double least, greatest;  // time of a query
    int lane, group;
};

__device__ inline double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }

__device__ inline real lowest() { return (real)-infinity(); }

__device__ inline bool is_finite(real x) { return x - x == (real)0; }

// Return the row of a tile that a thread evaluates.
__device__ inline int row_of(const Block &block, int r) { return block.group + GROUPS * r; }

__device__ inline int column_of(const Block &block, int c) { return block.lane + LANES * c; }

__device__ inline real sum_of_lanes(real x) {
    for (int step = LANES / 2; step; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ inline real max_of_lanes(real x) {
    for (int step = LANES / 2; step; step /= 2) {
        const real other = __shfl_xor_sync(0xffffffffu, x, step);
        x = other > x ? other : x;
    }
    return x;
}
