// Weights of pairs (spec §3, §4).
//
// Where weights are integer powers they are evaluated as such, in a unit in which they are finite;
// otherwise through their logarithm, relative to the greatest of the query.

// Sums over keys, relative to exp(peak); totals are those of a thread's own columns.
struct Sums {
    real carried[ROWS][CHANNELS];  // of weights times E ṽ
    real peak[ROWS], total[ROWS];
    real untempered_peak[ROWS], untempered[ROWS];  // of weights with β = 1
};

__device__ inline float quotient(float x, float y) { return __fdividef(x, y); }

__device__ inline double quotient(double x, double y) { return x / y; }

// Return a positive integer power.
__device__ inline real power_of(real x, int exponent) {
    real result = x;
    for (int k = 1; k < exponent; k++) result *= x;
    return result;
}

// Return cρ = c(‖q‖² + E²‖k‖² − 2E q̃ᵀk̃).
__device__ inline real squared_residual(
    const Block &block, int i, int j, real decayed, real product
) {
    if (WEIGHTING == UNIFORM) return 0;
    const real cross = decayed * block.shared->key_square[j] - 2 * block.model.scale * product;
    const real squared = block.shared->query_square[i] + decayed * cross;
    return squared < 0 ? (real)0 : squared;
}

// Return (Σ/x)^p, x = Σ + cρ, times influence, or times 1/Σ in a unit in which it is finite.
__device__ inline real power_weight(const Model &model, const Pair &pair, real squared) {
    const real inverse = quotient((real)1, pair.sigma + squared), ratio = pair.sigma * inverse;
    if (DIRECTIONS > 0) return POWER > 0 ? pair.influence * power_of(ratio, POWER) : pair.influence;
    const real weight = model.unit * inverse;
    return POWER > 1 ? weight * power_of(ratio, POWER - 1) : weight;
}

// Return L: the logarithm of influence, or minus that of Σ, plus that of the robust weight.
__device__ inline real logit_of(const Model &model, const Pair &pair, real squared) {
    const real prior = DIRECTIONS > 0 ? pair.influence : -log(pair.sigma);
    const real ratio = quotient(squared, pair.sigma);
    if (WEIGHTING == GAUSSIAN) return prior - ratio;
    if (WEIGHTING == RATIONAL) return prior - log1p(ratio);
    if (WEIGHTING == STUDENT) return prior - (1 + model.dof) * log1p(ratio);
    return prior;
}

// Return the logarithm of a weight at the inverse temperature, −∞ of none whatever that is.
__device__ inline real tempered(const Model &model, real logit) {
    return logit == lowest() ? logit : model.inverse_temperature * logit;
}

// Replace logits by weights relative to the new peak, and return what shrinks earlier sums.
__device__ inline real add_logits(real (&logits)[COLUMNS], real &peak, real &total) {
    real higher = lowest();
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) higher = logits[c] > higher ? logits[c] : higher;
    higher = max_of_lanes(higher);
    higher = peak > higher ? peak : higher;
    const real shift = higher > lowest() ? higher : (real)0, shrink = exp(peak - shift);
    total *= shrink;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        logits[c] = exp(logits[c] - shift);
        total += logits[c];
    }
    peak = higher;
    return shrink;
}

// Replace the logits of a row by weights, and add them to its sums.
__device__ inline void add_row(const Model &model, Sums &sums, real (&logits)[COLUMNS], int r) {
    if (TEMPERATURE) {
        real others[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) others[c] = logits[c];
        add_logits(others, sums.untempered_peak[r], sums.untempered[r]);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) logits[c] = tempered(model, logits[c]);
    }
    const real shrink = add_logits(logits, sums.peak[r], sums.total[r]);
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) sums.carried[r][k] *= shrink;
}

// Set the sums over no key but the prior's mean, which is zero.
__device__ inline void begin(const Block &block, Sums &sums) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) sums.carried[r][k] = 0;
        real missing = lowest();
        const long long i = block.first + row_of(block, r);
        if (TWO_SIDED && i < block.given.queries) missing = (real)block.given.missing[i];
        const real there = block.lane == 0 && missing > lowest() ? 1 : 0;
        const real scaled = tempered(block.model, missing);
        sums.untempered_peak[r] = missing;
        sums.untempered[r] = there;
        sums.peak[r] = POWER >= 0 ? (real)0 : scaled;
        sums.total[r] = POWER >= 0 && there > 0 ? exp(scaled) : there;
    }
}
