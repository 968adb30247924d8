// The forward of the isotropic form: a block of threads for each block of queries (spec §9).

#define CHUNK 8  // tiles between two looks at whether the rest may be left out

// Return the greatest logarithm of the weight of far keys, without the queries' levels, that is at
// most the share of every query.
__device__ inline double threshold_of(const Block &block, const Sums &sums, int direction) {
    Shared &shared = *block.shared;
    double threshold = infinity();
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const real total = sum_of_lanes(sums.total[r]);
        const int i = row_of(block, r);
        const double level = shared.query_level[direction * BLOCK_Q + i];
        double own = (double)sums.peak[r] + log((double)total) + block.given.share - level;
        if (!(own == own)) own = -infinity();
        if (level > -infinity()) threshold = fmin(threshold, own);  // else no key has influence
    }
    __syncthreads();
    if (block.lane == 0) shared.threshold[block.group] = threshold;
    __syncthreads();
    for (int k = 0; k < GROUPS; k++) threshold = fmin(threshold, shared.threshold[k]);
    return threshold;
}

// Whether the keys of a tile and all beyond it have at most the share of the weight of every query.
__device__ inline bool negligible(const Block &block, double threshold, long long tile, int direction) {
    const double far = block.given.far[tile * DIRECTIONS + direction];
    return far <= threshold && far < infinity();
}

// Return the first tile, from low to high, such that earlier ones may be left out.
__device__ inline long long first_needed(
    const Block &block, double threshold, long long low, long long high
) {
    while (low < high) {
        const long long middle = (low + high + 1) / 2;
        if (negligible(block, threshold, middle - 1, 0))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// Return the tile, from low to high, such that those from it on may be left out.
__device__ inline long long last_needed(
    const Block &block, double threshold, long long low, long long high
) {
    while (low < high) {
        const long long middle = (low + high) / 2;
        if (negligible(block, threshold, middle, DIRECTIONS - 1))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// The tiles of a block of queries: those beside it, then earlier ones and later ones, each from the
// nearest to the farthest.
struct Walk {
    long long before, after;  // first tile beside the queries, and the one after the last
    long long first, last;  // tiles that may not be left out
    long long earlier, later;  // the tiles visited so far, from one to before the other

    // Move to the next tile, and return it; −1 if there is none.
    __device__ inline long long next(const Block &block, const Sums &sums) {
        if (later < after) return later++;
        if (earlier > first) {
            if (EXITS && (before - earlier) % CHUNK == 0)
                first = first_needed(block, threshold_of(block, sums, 0), first, earlier);
            if (earlier > first) return --earlier;
        }
        if (!CAUSAL && later < last) {
            if (EXITS && (later - after) % CHUNK == 0)
                last = last_needed(block, threshold_of(block, sums, DIRECTIONS - 1), later, last);
            if (later < last) return later++;
        }
        return -1;
    }
};

// Return the precision of a query from the sums over all its keys.
__device__ inline real precision_of(const Model &model, const Sums &sums, int r, real total) {
    if (POWER >= 0) return DIRECTIONS > 0 ? total : total / model.unit;
    if (!TEMPERATURE) return total == 0 ? total : total * exp(sums.peak[r]);
    const real untempered = sum_of_lanes(sums.untempered[r]);
    return untempered == 0 ? untempered : untempered * exp(sums.untempered_peak[r]);
}

// Write the estimates of a block of queries, the first channels of a thread at once.
__device__ inline void store(const Block &block, const Sums &sums, real *mean, real *precision) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const long long i = block.first + row_of(block, r);
        const real total = sum_of_lanes(sums.total[r]);
        const real found = precision_of(block.model, sums, r, total);
        if (i >= block.given.queries) continue;
        if (block.lane == 0) precision[i] = found;
#pragma unroll
        for (int place = 0; place < CHANNELS; place++) {
            const int channel = channel_of(block, place);
            if (channel < block.given.value_width)
                mean[i * block.given.value_width + channel] = sums.carried[r][place] / (total == 0 ? 1 : total);
        }
    }
}

// Limit a number of keys to those that exist.
__device__ inline long long among(long long key, long long keys) {
    return key < 0 ? 0 : key > keys ? keys : key;
}

extern "C" __global__ void __launch_bounds__(THREADS) forward(
    const real *query, const real *query_square, const double *query_times, const real *noise,
    const double *query_level, const double *missing, const real *key, const real *value,
    const real *key_square, const double *key_times, const double *key_level,
    const double *bounds, const double *far, const unsigned char *mask, const Model *models,
    long long width, long long value_width, long long queries, long long keys, long long noise_head, long long noise_row,
    long long mask_head, long long mask_row, double share, real *mean, real *precision, int *limits
) {
    const long long blocks = (queries + BLOCK_Q - 1) / BLOCK_Q, h = blockIdx.x / blocks;
    const long long place = blocks - 1 - blockIdx.x % blocks;  // the most keys first
    const long long tiles = (keys + BLOCK_K - 1) / BLOCK_K;
    Block block;
    block.model = models[h];
    if ((block.model.powers > 0) != (POWER >= 0)) return;
    block.shared = reinterpret_cast<Shared *>(shared_memory);
    block.first = place * BLOCK_Q;
    block.lane = threadIdx.x % LANES;
    block.group = threadIdx.x / LANES;
    block.given = {
        query + h * queries * width, query_square + h * queries, noise + h * noise_head,
        key + h * keys * width, value + h * keys * value_width, key_square + h * keys,
        query_times + h * queries, query_level + h * queries * DIRECTIONS, missing + h * queries,
        key_times + h * keys, key_level + h * keys * DIRECTIONS, bounds + h * tiles * BOUNDS,
        far + h * tiles * DIRECTIONS, mask + h * mask_head, queries, keys, noise_row, mask_row,
        (int)width, (int)value_width, share
    };
    Sums sums;
    begin(block, sums);
    load_queries(block);
    const long long end = block.first + BLOCK_Q < queries ? block.first + BLOCK_Q : queries;
    const long long before = among(block.first + keys - queries, keys) / BLOCK_K;
    const long long after = (among(end + keys - queries, keys) + BLOCK_K - 1) / BLOCK_K;
    Walk walk = {before, after, 0, CAUSAL ? after : tiles, before, before};
    for (long long tile; (tile = walk.next(block, sums)) >= 0;) add_tile(block, sums, tile);
    store(block, sums, mean + h * queries * value_width, precision + h * queries);
    if (threadIdx.x == 0) {
        int *to = limits + (h * blocks + place) * 2;
        to[0] = (int)(walk.earlier * BLOCK_K);
        to[1] = (int)among(walk.later * BLOCK_K, keys);
    }
}
