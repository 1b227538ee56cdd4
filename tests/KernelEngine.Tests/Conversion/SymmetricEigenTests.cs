using KernelEngine.Models.Conversion;

namespace KernelEngine.Tests.Conversion;

public sealed class SymmetricEigenTests
{
    [TestCase(1)]
    [TestCase(2)]
    [TestCase(9)]
    [TestCase(40)]
    public void VectorsAreOrthonormalAndGiveTheMatrixBack(int size)
    {
        var random = new Random(size);
        var matrix = new double[size * size];
        for (int i = 0; i < size; i++)
        {
            for (int j = 0; j <= i; j++)
                matrix[i * size + j] = matrix[j * size + i] = random.NextDouble() - 0.5;
        }
        SymmetricEigen eigen = SymmetricEigen.Decompose(matrix, size);
        Assert.That(eigen.Values.ToArray(), Is.Ordered.Descending);
        for (int i = 0; i < size; i++)
        {
            for (int j = 0; j < size; j++)
            {
                double element = 0, product = 0;
                for (int k = 0; k < size; k++)
                {
                    element += eigen.Values[k] * eigen.Vector(k)[i] * eigen.Vector(k)[j];
                    product += eigen.Vector(i)[k] * eigen.Vector(j)[k];
                }
                Assert.That(element, Is.EqualTo(matrix[i * size + j]).Within(1e-13));
                Assert.That(product, Is.EqualTo(i == j ? 1 : 0).Within(1e-13));
            }
        }
    }

    [Test]
    public void ValuesAreThoseOfTheClosedForm()
    {
        // The second difference of n points has the eigenvalues 2 - 2 cos(k π / (n + 1)).
        const int Size = 12;
        var matrix = new double[Size * Size];
        for (int i = 0; i < Size; i++)
        {
            matrix[i * Size + i] = 2;
            if (i > 0)
                matrix[i * Size + i - 1] = matrix[(i - 1) * Size + i] = -1;
        }
        double[] values = SymmetricEigen.Decompose(matrix, Size).Values.ToArray();
        for (int i = 0; i < Size; i++)
            Assert.That(values[i], Is.EqualTo(2 - 2 * Math.Cos((Size - i) * Math.PI / (Size + 1))).Within(1e-13));
    }

    [Test]
    public void WhatIsNotAMatrixIsRefused()
    {
        Assert.That(() => SymmetricEigen.Decompose([1, 2, 3], 2), Throws.ArgumentException);
        Assert.That(() => SymmetricEigen.Decompose([double.NaN], 1), Throws.ArgumentException);
    }
}
