using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>
/// The nearest codeword of each sub-vector (see the problem for the formula). A thread has one word of codes, eight sub-vectors, and
/// measures them against four codewords at a time.
/// </summary>
internal static class EncodeRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    private const int Codewords = 16, CodesPerWord = 8, CodeBits = 4;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Rows;        // [batchSize, tokens, numHeads, headDim]
        public TokenTensor<float> Codebook; // [subVectors, 16, subVectorSize]
        public TokenTensor<int> Codes;     // [batchSize, numHeads, tokens, words]
        public long Count;                 // words of codes altogether
        public int Tokens, NumHeads, HeadDim, SubVectors, SubVectorSize, Words;
        public int IsEuclidean;
        public int AllBits;                // −1; a compiler that does not know cannot fuse what it stands between
    }

    /// <summary>The kernel; one thread for each word of codes.</summary>
    public static void Encode<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        long index = (long)Grid.IdxX * Threads + Group.IdxX;
        if (index >= p.Count)
            return;
        int word = (int)(index % p.Words);
        long rest = index / p.Words;
        int token = (int)(rest % p.Tokens);
        rest /= p.Tokens;
        int head = (int)(rest % p.NumHeads), batch = (int)(rest / p.NumHeads);
        long row = p.Rows.Offset(batch, token, head);
        uint codes = 0u;
        int end = (word + 1) * CodesPerWord < p.SubVectors ? (word + 1) * CodesPerWord : p.SubVectors;
        for (int m = word * CodesPerWord; m < end; m++)
            codes |= (uint)Nearest<T, TStorage>(ref p, row, m) << (m % CodesPerWord * CodeBits);
        p.Codes.Data[p.Codes.Offset(batch, head, token) + word] = (int)codes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Nearest<T, TStorage>(ref Parameters<T> p, long row, int subVector) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        int first = subVector * p.SubVectorSize;
        int size = p.HeadDim - first < p.SubVectorSize ? p.HeadDim - first : p.SubVectorSize;
        int nearest = 0;
        float least = float.PositiveInfinity;
        for (int k = 0; k < Codewords; k += 4)
        {
            long w0 = p.Codebook.Offset(subVector, k, 0), w1 = w0 + p.Codebook.TokenStride;
            long w2 = w1 + p.Codebook.TokenStride, w3 = w2 + p.Codebook.TokenStride;
            float d0 = 0f, d1 = 0f, d2 = 0f, d3 = 0f;
            for (int c = 0; c < size; c++)
            {
                float z = TStorage.Load(p.Rows.Data[row + first + c]);
                d0 += Distance(ref p, z - p.Codebook.Data[w0 + c]);
                d1 += Distance(ref p, z - p.Codebook.Data[w1 + c]);
                d2 += Distance(ref p, z - p.Codebook.Data[w2 + c]);
                d3 += Distance(ref p, z - p.Codebook.Data[w3 + c]);
            }
            nearest = d0 < least ? k : nearest;
            least = d0 < least ? d0 : least;
            nearest = d1 < least ? k + 1 : nearest;
            least = d1 < least ? d1 : least;
            nearest = d2 < least ? k + 2 : nearest;
            least = d2 < least ? d2 : least;
            nearest = d3 < least ? k + 3 : nearest;
            least = d3 < least ? d3 : least;
        }
        return nearest;
    }

    // A square is rounded before it is added, as the definition has it: no multiply-add.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Distance<T>(ref Parameters<T> p, float difference) where T : unmanaged =>
        p.IsEuclidean != 0 ? Interop.IntAsFloat((uint)((int)Interop.FloatAsInt(difference * difference) & p.AllBits)) : XMath.Abs(difference);
}
