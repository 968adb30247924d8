// A tile: a block of queries against a block of keys.

#define BATCH 8  // loads of a thread that wait for memory at once

// Load four channels of a token, zero beyond their number; `WHOLE` says that all of them exist.
template <bool WHOLE>
__device__ inline Vector load_channels(const real *token, int rest) {
    if (WHOLE) return *reinterpret_cast<const Vector *>(token);
    Vector found = {{0, 0, 0, 0}};
    for (int c = 0; c < 4; c++)
        if (c < rest) found.at[c] = token[c];
    return found;
}

// Replace channels that are not finite by zero; return whether there are any.
__device__ inline bool clear_nonfinite(Vector &x) {
    bool nonfinite = false;
    for (int c = 0; c < 4; c++) {
        if (is_finite(x.at[c])) continue;
        x.at[c] = 0;
        nonfinite = true;
    }
    return nonfinite;
}

// Copy a block of tokens to shared memory, zero beyond their number and their channels; return
// whether one of them is not finite where that is to be zero as well.
template <int KEPT, int STRIDE, bool FINITE, bool WHOLE>
__device__ inline bool copy_tokens(
    real *to, const real *from, int width, long long first, long long count, int block
) {
    bool nonfinite = false;
    for (int start = threadIdx.x; start < block * (KEPT / 4); start += BATCH * THREADS) {
        Vector found[BATCH];
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            const int k = start + b * THREADS, i = k / (KEPT / 4), channel = k % (KEPT / 4) * 4;
            found[b] = {{0, 0, 0, 0}};
            if (i < block && first + i < count && channel < width)
                found[b] = load_channels<WHOLE>(
                    from + (first + i) * width + channel, width - channel
                );
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            const int k = start + b * THREADS, i = k / (KEPT / 4), channel = k % (KEPT / 4) * 4;
            if (i >= block) continue;
            if (FINITE) nonfinite |= clear_nonfinite(found[b]);
            *reinterpret_cast<Vector *>(to + i * STRIDE + channel) = found[b];
        }
    }
    return nonfinite;
}

template <int KEPT, int STRIDE, bool FINITE>
__device__ inline bool load_tokens(
    real *to, const real *from, int width, long long first, long long count, int block
) {
    if (width % 4 == 0)
        return copy_tokens<KEPT, STRIDE, FINITE, true>(to, from, width, first, count, block);
    return copy_tokens<KEPT, STRIDE, FINITE, false>(to, from, width, first, count, block);
}

// Load a block of queries.
__device__ inline void load_queries(Block &block) {
    const Arguments &given = block.given;
    Shared &shared = *block.shared;
    load_tokens<PADDED, QUERY_STRIDE, false>(
        shared.query, given.query, given.width, block.first, given.queries, BLOCK_Q
    );
    for (int k = threadIdx.x; k < BLOCK_Q; k += THREADS) {
        const long long i = block.first + k;
        const bool inside = i < given.queries;
        shared.query_square[k] = inside ? given.query_square[i] : (real)0;
        shared.noise[k] = inside ? given.noise[i * given.noise_row] : (real)1;
        shared.query_time[k] = inside ? given.query_times[i] : 0.0;
        for (int side = 0; side < DIRECTIONS; side++) {
            const double level = inside ? given.query_level[i * DIRECTIONS + side] : -infinity();
            shared.query_level[side * BLOCK_Q + k] = level;
        }
    }
    __syncthreads();
    block.least = infinity();
    block.greatest = -infinity();
    for (int k = 0; k < BLOCK_Q && block.first + k < given.queries; k++) {
        block.least = fmin(block.least, shared.query_time[k]);
        block.greatest = fmax(block.greatest, shared.query_time[k]);
    }
}

// Load a block of keys, and write the factors of both blocks where they have any.
__device__ inline void load_keys(
    const Block &block, const double *bounds, long long start, int order
) {
    const Arguments &given = block.given;
    Shared &shared = *block.shared;
    load_tokens<PADDED, KEY_STRIDE, false>(
        shared.token, given.key, given.width, start, given.keys, BLOCK_K
    );
    for (int k = threadIdx.x; k < BLOCK_K; k += THREADS) {
        const long long j = start + k;
        const bool exists = j < given.keys;
        shared.key_square[k] = exists ? given.key_square[j] : (real)0;
        shared.key_time[k] = exists ? given.key_times[j] : bounds[0];
        for (int side = 0; side < DIRECTIONS; side++) {
            const double level = exists ? given.key_level[j * DIRECTIONS + side] : infinity();
            shared.key_level[side * BLOCK_K + k] = level;
        }
        if (order != BESIDE) factor_key(block, bounds, order, k);
    }
    if (order == BESIDE) return;
    for (int k = THREADS - 1 - threadIdx.x; k < BLOCK_Q; k += THREADS)
        factor_query(block, bounds, order, k);
}

// Whether a query attends to a key.
__device__ inline bool is_visible(const Block &block, int i, long long j) {
    const Arguments &given = block.given;
    const long long row = block.first + i;
    if (j >= given.keys || (CAUSAL && j > row + given.keys - given.queries)) return false;
    return !MASKED || (row < given.queries && given.mask[row * given.mask_row + j] != 0);
}

// Form the dot products of queries and keys.
__device__ inline void multiply_tokens(const Block &block, real (&products)[ROWS][COLUMNS]) {
    const Shared &shared = *block.shared;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) products[r][c] = 0;
    if (WEIGHTING == UNIFORM) return;
    const real *query = shared.query + block.group * QUERY_STRIDE;
    const real *key = shared.token + block.lane * KEY_STRIDE;
#pragma unroll 2
    for (int k = 0; k < PADDED; k += 4) {
        Vector x[ROWS], y[COLUMNS];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            x[r] = *reinterpret_cast<const Vector *>(query + r * GROUPS * QUERY_STRIDE + k);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            y[c] = *reinterpret_cast<const Vector *>(key + c * LANES * KEY_STRIDE + k);
#pragma unroll
        for (int s = 0; s < 4; s++)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) products[r][c] += x[r].at[s] * y[c].at[s];
    }
}

// Add the weights of a tile to the totals, and write their products with E.
template <bool FACTORED>
__device__ inline void weigh(
    const Block &block, Sums &sums, const real (&products)[ROWS][COLUMNS], long long start, bool cut
) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int i = row_of(block, r);
        real weights[COLUMNS], decayed[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const int j = column_of(block, c);
            const bool visible = !cut || is_visible(block, i, start + j);
            const Pair pair = FACTORED ? factored_pair(block, i, j) : direct_pair(block, i, j);
            const real squared = squared_residual(block, i, j, pair.decayed, products[r][c]);
            const real hidden = POWER >= 0 ? (real)0 : lowest();
            const real found = POWER >= 0 ? power_weight(block.model, pair, squared)
                                          : logit_of(block.model, pair, squared);
            weights[c] = visible ? found : hidden;
            decayed[c] = visible ? pair.decayed : (real)0;
        }
        if (POWER < 0) add_row(block.model, sums, weights, r);
        real *to = block.shared->weight + i * WEIGHT_STRIDE;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            if (POWER >= 0) sums.total[r] += weights[c];
            to[column_of(block, c)] = weights[c] * decayed[c];
        }
    }
}

// Add the values of a tile, times their weights.
__device__ inline void add_values(const Block &block, Sums &sums) {
    const real *weight = block.shared->weight + block.group * WEIGHT_STRIDE;
    const real *value = block.shared->token + 4 * block.lane;
#pragma unroll 2
    for (int k = 0; k < BLOCK_K; k += 4) {
        Vector w[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            w[r] = *reinterpret_cast<const Vector *>(weight + r * GROUPS * WEIGHT_STRIDE + k);
#pragma unroll
        for (int s = 0; s < 4; s++) {
#pragma unroll
            for (int c = 0; c < CHANNELS; c += 4) {
                const Vector v = *reinterpret_cast<const Vector *>(
                    value + (k + s) * KEY_STRIDE + c * LANES
                );
#pragma unroll
                for (int r = 0; r < ROWS; r++)
#pragma unroll
                    for (int t = 0; t < 4; t++) sums.carried[r][c + t] += w[r].at[s] * v.at[t];
            }
        }
    }
}

// Return the channel of values that a thread sums in a place.
__device__ inline int channel_of(const Block &block, int place) {
    return place / 4 * 4 * LANES + 4 * block.lane + place % 4;
}

// Return which sums of a thread have a visible value that is not finite: a bit of each.
__device__ __noinline__ unsigned long long find_nonfinite(Block block, long long start) {
    const Arguments &given = block.given;
    unsigned long long found = 0;
    for (int place = 0; place < CHANNELS; place++) {
        const int channel = channel_of(block, place);
        if (channel >= given.value_width) continue;
        for (long long j = start; j < start + BLOCK_K && j < given.keys; j++) {
            if (is_finite(given.value[j * given.value_width + channel])) continue;
            for (int r = 0; r < ROWS; r++)
                if (is_visible(block, row_of(block, r), j)) found |= 1ull << (r * CHANNELS + place);
        }
    }
    return found;
}

// Set sums to NaN.
__device__ inline void propagate_nan(Sums &sums, unsigned long long nonfinite) {
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int place = 0; place < CHANNELS; place++)
            if (nonfinite >> (r * CHANNELS + place) & 1)
                sums.carried[r][place] = (real)(infinity() - infinity());
}

// Add the keys of a tile to the sums of a block of queries.
__device__ inline void add_tile(const Block &block, Sums &sums, long long tile) {
    const Arguments &given = block.given;
    const long long start = tile * BLOCK_K, last = block.first + given.keys - given.queries;
    const bool cut = MASKED || start + BLOCK_K > given.keys || (CAUSAL && start + BLOCK_K - 1 > last);
    const double *bounds = given.bounds + tile * BOUNDS;
    const int order = order_of(block, bounds);
    real products[ROWS][COLUMNS];
    __syncthreads();
    load_keys(block, bounds, start, order);
    __syncthreads();
    multiply_tokens(block, products);
    if (order != BESIDE)
        weigh<true>(block, sums, products, start, cut);
    else
        weigh<false>(block, sums, products, start, cut);
    __syncthreads();
    bool nonfinite = false;
    real *to = block.shared->token;
    if (cut)
        nonfinite = load_tokens<VALUE_PADDED, KEY_STRIDE, true>(
            to, given.value, given.value_width, start, given.keys, BLOCK_K
        );
    else
        load_tokens<VALUE_PADDED, KEY_STRIDE, false>(
            to, given.value, given.value_width, start, given.keys, BLOCK_K
        );
    nonfinite = __syncthreads_or(nonfinite);
    add_values(block, sums);
    if (nonfinite) propagate_nan(sums, find_nonfinite(block, start));
}
